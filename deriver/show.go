package deriver

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/deriver/strategy"
	"millrace/internal/warehouse"
)

// Choice says what part of a derived table to show.
type Choice struct {
	Window string   // a date, or 2026-01-31T15:00, inside of the window; for scope window
	Key    []string // the values of the owning columns, as text; for scope keys
}

// Show returns the query that a run of the table would compute for the choice.
// Nothing is run.
func Show(n *graph.Node, spelling warehouse.Spelling, c Choice) (string, error) {
	switch n.Spec.Scope {
	case spec.ScopeWindow:
		at, err := civil(c.Window)
		if err != nil && c.Window != "" {
			return "", err
		}
		if err != nil || len(c.Key) > 0 {
			return "", errors.New("the table is computed by windows: name one with --window 2026-01-31")
		}
		return strategy.New(n, spelling).Window(n.Spec.Window.Grid.Civil(at)).Query, nil
	case spec.ScopeKeys:
		owning := n.OwningKey()
		if len(c.Key) != len(owning) || c.Window != "" {
			return "", fmt.Errorf("the table is computed by keys: name a value for each of %s with --key", strings.Join(owning, ", "))
		}
		return strategy.New(n, shownKeys{spelling, keyRelation(n, spelling, c.Key)}).Keys().Query, nil
	}
	if c.Window != "" || len(c.Key) > 0 {
		return "", errors.New("the table is not computed by windows or keys: leave --window and --key out")
	}
	if n.Spec.Scope == spec.ScopeRows {
		return strategy.New(n, spelling).Rows(0, 1<<62).Query, nil
	}
	return strategy.New(n, spelling).Whole().Query, nil
}

func civil(text string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("read window %q: want a date or a date and a time", text)
}

// shownKeys is a spelling whose dirty keys are those that a person named.
type shownKeys struct {
	warehouse.Spelling
	relation string
}

func (s shownKeys) DirtyKeys() string { return s.relation }

func (s shownKeys) DirtyKeyList(owning []string) string {
	keys := make([]string, len(owning))
	for i, name := range owning {
		keys[i] = s.Ident(name)
	}
	return "(SELECT (" + strings.Join(keys, ", ") + ") FROM " + s.relation + ")"
}

func keyRelation(n *graph.Node, spelling warehouse.Spelling, values []string) string {
	var cols []string
	for i, name := range n.OwningKey() {
		text := spelling.Text(values[i])
		for _, c := range n.Columns {
			if strings.EqualFold(c.Name, name) {
				text = fmt.Sprintf("CAST(%s AS %s)", text, c.SQLType)
			}
		}
		cols = append(cols, text+" AS "+spelling.Ident(name))
	}
	return "(SELECT " + strings.Join(cols, ", ") + ")"
}
