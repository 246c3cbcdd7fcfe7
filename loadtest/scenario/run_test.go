package scenario

import (
	"context"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/internal/privateserver"
	"millrace/internal/testkit"
	"millrace/loadtest/child"
	"millrace/loadtest/report"
)

func TestMain(m *testing.M) {
	if played, code := child.Serve(context.Background(), Roles()); played {
		os.Exit(code)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil { // a little run mostly waits
		panic(err)
	}
	goleak.VerifyTestMain(m, testkit.IgnoreServers(),
		// A metrics worker of BigQuery's client, which ends with the process.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// little is how a scenario is run to see that it runs.
var little = Change{Rows: 2000, Rate: 200, Duration: 500 * time.Millisecond}

// runLittle runs a scenario over few rows. A server that is missing skips the
// test, and fails it in CI.
func runLittle(t *testing.T, name string, spoil func(*File)) *report.Result {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts servers")
	}
	f, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	f = f.With(little)
	f.Seeded, f.Derived = min(f.Seeded, 200), min(f.Derived, 3)
	f.Workload.Tables = min(f.Workload.Tables, 2)
	if spoil != nil {
		spoil(f)
	}
	result, err := Run(t.Context(), f, Options{Patience: 2 * time.Minute})
	var missing *privateserver.MissingError
	if errors.As(err, &missing) {
		testkit.Missing(t, missing.What, missing.Package)
	}
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// Every scenario runs, loses nothing, and measures what it promises.
func TestEveryScenarioRuns(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runLittle(t, name, nil)
			f := r.Figures
			if !r.OK || f.Events == 0 || f.EventsPerSecond <= 0 || f.LimitEventsPerSecond <= 0 || f.RatioToLimit <= 0 || r.Detail.Limit == "" {
				t.Errorf("%+v\n%v", f, r.Detail.Examples)
			}
			if file, _ := Find(name); (file.Kind == EndToEnd || file.Kind == Fanout) && (f.P50Ms <= 0 || f.P99Ms < f.P50Ms || f.MaxMs < f.P99Ms) {
				t.Errorf("times %+v", f)
			}
			for _, target := range r.Detail.Targets {
				if target.Value == 0 {
					t.Errorf("%s is a target and was not measured", target.Figure)
				}
			}
		})
	}
}
