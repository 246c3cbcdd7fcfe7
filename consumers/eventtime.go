package consumers

import (
	"fmt"
	"slices"
	"strings"

	"millrace/internal/invalid"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// checkEventTimes halts a table whose configured event times are no columns of
// it, or have a type that no time lies in: no later try makes them right.
func checkEventTimes(t *warehouse.CoreTable) error {
	for _, name := range t.EventTimes {
		i := slices.IndexFunc(t.Columns, func(c schemas.Column) bool { return c.Name == name })
		if i < 0 {
			return halt(fmt.Errorf("event_time %q is no column of %s", name, t.Name), eventTimeCure(t, name))
		}
		if kind := t.Columns[i].Type; !kind.Kind.IsEventTime() {
			return halt(fmt.Errorf("event_time %q of %s has the type %s, and no DATE, TIMESTAMP or DATETIME", name, t.Name, kind), eventTimeCure(t, name))
		}
	}
	return nil
}

func eventTimeCure(t *warehouse.CoreTable, name string) string {
	var times []string
	for _, c := range t.Columns {
		if c.Type.Kind.IsEventTime() {
			times = append(times, c.Name)
		}
	}
	cure := "name a column of those types under event_time in the configuration, then restart millrace"
	if near := invalid.Nearest(name, times); near != "" && near != name {
		return fmt.Sprintf("did you mean %s? %s", near, cure)
	}
	if len(times) == 0 {
		return "it has no such column: leave event_time out of the configuration, then restart millrace"
	}
	return fmt.Sprintf("%s; there are %s", cure, strings.Join(times, ", "))
}
