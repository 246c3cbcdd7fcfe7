package bigquery

import (
	"slices"
	"strings"
	"testing"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/sqlgen"
)

// What is there stays and is named; an outage is waited for, and what was made
// before a refusal is told beside it.
func TestPrepare(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	if err := p.w.ddl(t.Context(), sqlgen.Name{Dataset: "core"}, "CREATE SCHEMA core"); err != nil {
		t.Fatal(err)
	}
	p.fake.On("datasets.get", 1, bigqueryfake.Refuse(503, "backendError", "no"))
	made, there, err := p.w.Prepare(t.Context(), []string{"analytics"})
	if err != nil || !slices.Equal(made, []string{"millrace", "core__base", "millrace_scratch", "analytics"}) || !slices.Equal(there, []string{"core"}) {
		t.Errorf("made %v, there %v, error %v", made, there, err)
	}
	again, there, err := p.w.Prepare(t.Context(), []string{"analytics"})
	if err != nil || len(again) > 0 || len(there) != len(made)+1 {
		t.Errorf("made %v, there %v, error %v", again, there, err)
	}
	p.fake.On("jobs.insert", 2, bigqueryfake.Refuse(403, "accessDenied", "Access Denied: no right to create datasets"))
	made, _, err = p.w.Prepare(t.Context(), []string{"one", "two"})
	if !slices.Equal(made, []string{"one"}) || err == nil || !strings.Contains(err.Error(), "make the dataset two") {
		t.Errorf("made %v, error %v", made, err)
	}
}
