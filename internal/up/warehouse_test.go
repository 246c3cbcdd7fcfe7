package up

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/internal/config"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// The addresses of a configuration are all that is needed to reach what stands
// in for BigQuery.
func TestOpenBigQuery(t *testing.T) {
	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &config.Config{Prefix: "p", Warehouse: config.Warehouse{Kind: config.KindBigQuery, BigQuery: config.BigQuery{
		Project: fake.Project(), Location: "US", JobsURL: strings.TrimSuffix(fake.URL(), "/"), WritesAddr: fake.GRPCAddr(),
	}}}
	w, err := openWarehouse(t.Context(), c, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	answer, err := w.Select(t.Context(), "SELECT 1 AS n", 1)
	if err != nil || len(answer.Rows) != 1 || *answer.Rows[0][0] != "1" {
		t.Errorf("%+v %v", answer, err)
	}
	p := &process{Options: Options{Config: c}, warehouse: w}
	if err := p.checkPrefix(t.Context()); err != nil {
		t.Errorf("an empty project: %v", err)
	}
}

// A wrong project, location or address is said at once, at its line; so are a project
// and a write path that do not answer, and tables of another prefix.
func TestCheckAsksBigQuery(t *testing.T) {
	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	prefix, writes, folder := "p", fake.GRPCAddr(), ""
	check := func(project, location, jobs string) (*Checked, error) {
		t.Helper()
		path := filepath.Join(dir, "millrace.yaml")
		text := fmt.Sprintf(`sources: {shop: {kind: postgres, dsn: "postgres://127.0.0.1:1/none", tables: {public.orders: {}}}}
data: %s
warehouse:
  kind: bigquery
  project: %s
  location: %s
  endpoints: {jobs: %q, writes: %q}
prefix: %s
%s`, dir, project, location, jobs, writes, prefix, folder)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Check(t.Context(), CheckOptions{Config: path, Env: os.LookupEnv})
	}
	if _, err := check(fake.Project(), "US", fake.URL()); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
	w, err := openWarehouse(t.Context(), &config.Config{Prefix: "p", Warehouse: config.Warehouse{Kind: config.KindBigQuery, BigQuery: config.BigQuery{
		Project: fake.Project(), Location: "US", JobsURL: fake.URL(), WritesAddr: fake.GRPCAddr(),
	}}}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	id := []schemas.Column{{Name: "id", Type: schemas.Type{Kind: schemas.Int}}}
	for table, topic := range map[string]string{"core.orders": "p.shop.public.orders", "core.lines": "p.shop.public.lines"} {
		if err := w.Ensure(t.Context(), warehouse.CoreTable{Name: table, Mode: schemas.ModeMerge, Columns: id, Key: []string{"id"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Acquire(t.Context(), table, topic, "id"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.NotFoundHandler())
	defer site.Close()
	for _, c := range []struct{ project, location, jobs, want string }{
		{"acme-date", "US", fake.URL(), "millrace.yaml:5: warehouse.project: "},
		{fake.Project(), "EU", fake.URL(), "millrace.yaml:6: warehouse.location: is EU, and the dataset millrace is in US; let warehouse.location be where the datasets are"},
		{fake.Project(), "US", site.URL, "millrace.yaml:7: warehouse.endpoints: "},
	} {
		if _, err := check(c.project, c.location, c.jobs); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	fake.On("jobs.insert", 1, bigqueryfake.Refuse(403, "accessDenied", "Access Denied: Project p: User does not have bigquery.jobs.create permission in project p."))
	if _, err := check(fake.Project(), "US", fake.URL()); err == nil || !strings.Contains(err.Error(), "grant roles/bigquery.jobUser on the project") {
		t.Errorf("got %v", err)
	}
	fault := func(what, want string) {
		t.Helper()
		if _, err := check(fake.Project(), "US", fake.URL()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", what, err, want)
		}
	}
	writes = "127.0.0.1:1"
	fault("no write path", "millrace.yaml:7: warehouse.endpoints.writes: the write path does not answer: ")
	writes = strings.TrimPrefix(site.URL, "http://")
	fault("another server", "millrace.yaml:7: warehouse.endpoints.writes: ")
	writes = fake.GRPCAddr()
	fake.On("GetWriteStream", 1, bigqueryfake.Refuse(403, "", "BigQuery Storage API has not been used in project 1 before or it is disabled."))
	fault("the API is off", "warehouse: ask the write path: ")
	fake.On("GetWriteStream", 1, bigqueryfake.Refuse(403, "", "Permission 'TABLES_UPDATE_DATA' denied on resource 'survey' (or it may not exist)."))
	if _, err := check(fake.Project(), "US", fake.URL()); err != nil {
		t.Errorf("the write path answers: %v", err)
	}
	prefix = "q"
	fault("another prefix", "millrace.yaml:8: prefix: is q, and the project "+fake.Project()+
		" belongs to the prefix p: its core.lines was loaded from topic p.shop.public.lines, and 1 more of it; write prefix: p again, or name another project")
	prefix = "p"
	if _, err := check(fake.Project(), "US", "http://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "millrace.yaml:7: warehouse.endpoints.jobs: ") {
		t.Errorf("nothing listens: %v", err)
	}
	for n := range 100 {
		fake.On("jobs.insert", n+1, bigqueryfake.Refuse(503, "backendError", "no"))
	}
	fault("an outage", "millrace.yaml:3: warehouse: ")
	derived := filepath.Join(dir, "derived")
	if err := os.Mkdir(derived, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(derived, "daily.yaml"), []byte("name: analytics.daily\nowner: t\nwindow: day\nqury: SELECT 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder = "derived: " + derived + "\n"
	fault("a spec's form, while the warehouse is silent", "daily.yaml:4: qury: ")
	fault("the warehouse beside it", "millrace.yaml:3: warehouse: ")
}
