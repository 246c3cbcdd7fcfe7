package consumers

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"millrace/internal/invalid"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// checkEventTimes halts a table whose configured event times are none: no
// later try makes them right.
func checkEventTimes(t *warehouse.CoreTable) error {
	for _, name := range t.EventTimes {
		if problem, cure := EventTimeFault(t.Columns, name); problem != "" {
			return halt(errors.New("event_time "+problem), cure+" in the configuration, then restart millrace")
		}
	}
	return nil
}

// EventTimeFault says why a column cannot be an event time of a table with the
// given columns, and what can; both are empty if it can.
func EventTimeFault(columns []schemas.Column, name string) (problem, cure string) {
	i := slices.IndexFunc(columns, func(c schemas.Column) bool { return c.Name == name })
	switch {
	case i < 0:
		problem = fmt.Sprintf("%q is no column of the table", name)
	case !columns[i].Type.Kind.IsEventTime():
		problem = fmt.Sprintf("%q has the type %s, and is no DATE, TIMESTAMP or DATETIME", name, columns[i].Type)
	default:
		return "", ""
	}
	var times []string
	for _, c := range columns {
		if c.Type.Kind.IsEventTime() {
			times = append(times, c.Name)
		}
	}
	near := invalid.Nearest(name, times)
	switch {
	case len(times) == 0:
		return problem, "no column of it is a DATE, TIMESTAMP or DATETIME: leave event_time out"
	case near != "":
		return problem, fmt.Sprintf("did you mean %s? Write one of %s", near, strings.Join(times, ", "))
	}
	return problem, "write one of " + strings.Join(times, ", ")
}
