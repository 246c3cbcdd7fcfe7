package audit

import (
	"strings"
	"testing"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/warehouse"
)

type quotes struct{ warehouse.Spelling }

func (quotes) Ident(name string) string { return "<" + name + ">" }

func TestChecks(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"name: a.x\nquery: SELECT 1", ""},
		{"name: a.x\nquery: SELECT 1\nunique_key: [k, l]\nstrategy: merge", "not_null(k, l): <k> IS NULL OR <l> IS NULL; unique(k, l): k l"},
		{
			"name: a.x\nquery: SELECT 1\nunique_key: k\nstrategy: merge\naudits: [{unique: k}, {not_null: [k]}, {unique: [a]}]",
			"not_null(k): <k> IS NULL; unique(k): k; unique(a): a",
		},
		{"name: a.x\nquery: SELECT 1\ncolumns: [{name: a, type: INT64, required: true}, {name: b, type: DATE}]", "not_null(a): <a> IS NULL"},
	} {
		s, faults := spec.Parse("x.yaml", []byte(c.text), nil)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		var got []string
		for _, check := range Checks(&graph.Node{Spec: s}, quotes{}) {
			got = append(got, check.Name+": "+check.Violated+strings.Join(check.Unique, " "))
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.text, strings.Join(got, "; "), c.want)
		}
	}
}
