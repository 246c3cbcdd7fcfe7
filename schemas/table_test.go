package schemas

import "testing"

func TestContinues(t *testing.T) {
	before := &Table{Key: []int{0}, Columns: []Column{
		{Name: "id", Type: Type{Kind: Int}}, {Name: "sum", Type: Type{Kind: Decimal, Precision: 8, Scale: 2}}, {Name: "x", Type: Type{Kind: String}},
	}}
	for what, c := range map[string]struct {
		change func(*Table)
		want   bool
	}{
		"nothing":            {func(*Table) {}, true},
		"a new column":       {func(n *Table) { n.Columns = append(n.Columns, Column{Name: "y"}) }, true},
		"a column less":      {func(n *Table) { n.Columns = n.Columns[:2] }, true},
		"another order":      {func(n *Table) { n.Columns[0], n.Columns[2], n.Key = n.Columns[2], n.Columns[0], []int{2} }, true},
		"more digits before": {func(n *Table) { n.Columns[1].Type.Precision = 10 }, true},
		"more digits behind": {func(n *Table) { n.Columns[1].Type.Scale = 3 }, false},
		"another kind":       {func(n *Table) { n.Columns[2].Type.Kind = JSON }, false},
		"another key":        {func(n *Table) { n.Key = []int{2} }, false},
		"a longer key":       {func(n *Table) { n.Key = []int{0, 2} }, false},
		"no key":             {func(n *Table) { n.Key = nil }, false},
	} {
		next := *before
		next.Columns = append([]Column(nil), before.Columns...)
		c.change(&next)
		if got := next.Continues(before); got != c.want {
			t.Errorf("%s: continues is %v", what, got)
		}
	}
}
