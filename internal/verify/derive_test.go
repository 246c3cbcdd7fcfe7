package verify

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/page"
)

// world is a replica with payments on the first and the third of three days,
// and a platform whose tables the test makes itself.
type world struct {
	*Replica
	platform *Replica
}

func (w *world) Query(ctx context.Context, sql string) (*page.Table, error) {
	return w.platform.Query(ctx, sql)
}

func (*world) Status(context.Context) (*page.Status, error) { return &page.Status{}, nil }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{newReplica(t), newReplica(t)}
	payments := table("id order_id amount paid_at", "",
		"1 10 5.00 2026-03-01T00:00:00+00", "2 10 7.00 2026-03-01T23:59:59+00", "3 11 1.00 2026-03-03T12:00:00+00", "4 99 2.00 2026-03-03T13:00:00+00")
	w.put(t, "core.payments", []column{
		{"id", "BIGINT"},
		{"order_id", "BIGINT"},
		{"amount", "DECIMAL(12,2)"},
		{"paid_at", "TIMESTAMP WITH TIME ZONE"},
	}, payments)
	w.put(t, "core.orders", []column{{"id", "BIGINT"}, {"customer_id", "BIGINT"}}, table("id customer_id", "", "10 1", "11 2", "12 -"))
	return w
}

func newReplica(t *testing.T) *Replica {
	t.Helper()
	r, err := NewReplica(t.Context(), filepath.Join(t.TempDir(), "r.duckdb"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *Replica) put(t *testing.T, name string, columns []column, rows *page.Table) {
	t.Helper()
	if err := r.fill(t.Context(), name, columns, listed(rows.Rows)); err != nil {
		t.Fatal(err)
	}
}

func readText(t *testing.T, text string) *Spec {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "spec.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	specs, err := ReadSpecs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return specs[0]
}

func day(d int) time.Time { return time.Date(2026, 3, d, 0, 0, 0, 0, time.UTC) }

const daily = `
name: analytics.daily
window: day
unique_key: day
inputs: {core.payments: paid_at}
query: |
  SELECT @window_start AS day, COUNT(*) AS n, COALESCE(SUM(amount), 0) AS revenue -- @window_end
  FROM core.payments WHERE '@window_start' <> ''
`

func derive(t *testing.T, w *world, text string) []string {
	t.Helper()
	got, err := Derive(t.Context(), w.Replica, readText(t, text), EventTimes{"core.payments": "paid_at"}, Calendar{day(1), day(4).Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return lines(got)
}

func lines(t *page.Table) []string {
	var out []string
	for _, row := range t.Rows {
		var values []string
		for _, v := range row {
			values = append(values, show(v))
		}
		out = append(out, strings.Join(values, " "))
	}
	return out
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEachWindowIsComputedAlone(t *testing.T) {
	equal(t, derive(t, newWorld(t), daily), "2026-03-01 2 12.00", "2026-03-02 0 0.00", "2026-03-03 2 3.00", "2026-03-04 0 0.00")
}

func TestLookbackReadsWhatIsBefore(t *testing.T) {
	text := strings.Replace(daily, "{core.payments: paid_at}", "{core.payments: {event_time: paid_at, lookback: 2d}}", 1)
	equal(t, derive(t, newWorld(t), text), "2026-03-01 2 12.00", "2026-03-02 2 12.00", "2026-03-03 4 15.00", "2026-03-04 2 3.00")
}

// A day of Berlin begins an hour before that of UTC in winter.
func TestWindowsOfATimeZone(t *testing.T) {
	text := strings.Replace(daily, "window: day", "window: {size: day, timezone: Europe/Berlin}", 1)
	equal(t, derive(t, newWorld(t), text), "2026-03-01 1 5.00", "2026-03-02 1 7.00", "2026-03-03 2 3.00", "2026-03-04 0 0.00")
}

func TestInputsOfAnotherMappingAreNotBounded(t *testing.T) {
	equal(t, derive(t, newWorld(t), `
name: analytics.joined
window: day
inputs:
  core.payments: paid_at
  core.orders: {via: core.payments.order_id, on: id}
query: |
  SELECT CAST(p.paid_at AS DATE) AS day, o.customer_id, SUM(p.amount) AS revenue
  FROM core.payments AS p JOIN core.orders AS o ON o.id = p.order_id GROUP BY 1, 2
`), "2026-03-01 1 12.00", "2026-03-03 2 1.00")
}

func TestDerivedOnDerivedReadsWhatWasComputed(t *testing.T) {
	w := newWorld(t)
	derive(t, w, daily)
	got, err := Derive(t.Context(), w.Replica, readText(t, `
name: analytics.weekly
window: week
inputs: {analytics.daily: day}
query: SELECT @window_start AS week, @window_end AS next, SUM(n) AS n FROM analytics.daily
`), nil, Calendar{day(1), day(4).Add(1)})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, lines(got), "2026-02-23 2026-03-02 2", "2026-03-02 2026-03-09 2")
}

func TestKeysAreAllDirty(t *testing.T) {
	equal(t, derive(t, newWorld(t), `
name: analytics.customer
strategy: merge
unique_key: customer_id
inputs:
  core.orders: {key: [customer_id]}
  core.payments: {via: core.orders.id, on: order_id}
query: SELECT customer_id, count(*) AS n FROM core.orders JOIN dirty USING (customer_id) GROUP BY 1 ORDER BY 1
`), "1 1", "2 1")
}

func TestKeysOfADirtyQueryAreAllDirty(t *testing.T) {
	equal(t, derive(t, newWorld(t), `
name: analytics.totals
strategy: merge
unique_key: who
inputs:
  core.orders: {dirty: "WITH c AS (FROM changes) SELECT 'c' || customer_id FROM c"}
query: SELECT 'c' || customer_id AS who, count(*) AS n FROM core.orders JOIN dirty ON 'c' || customer_id = who GROUP BY 1 ORDER BY 1
`), "c1 1", "c2 1")
}

func TestCompareDerivedFindsWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	spec, calendar := readText(t, daily), Calendar{day(1), day(4)}
	columns := []column{{"day", "DATE"}, {"n", "BIGINT"}, {"revenue", "DECIMAL(38,2)"}}
	for name, c := range map[string]struct {
		rows []string
		want string
	}{
		"right":                  {[]string{"2026-03-01 2 12.00", "2026-03-02 0 0.00", "2026-03-03 2 3.00"}, ""},
		"an empty window missed": {[]string{"2026-03-01 2 12.00", "2026-03-03 2 3.00"}, "missing: day=2026-03-02 n=0 revenue=0.00"},
		"a stale window":         {[]string{"2026-03-01 1 5.00", "2026-03-02 0 0.00", "2026-03-03 2 3.00"}, "differs: day=2026-03-01: n should be 2, is 1; revenue should be 12.00, is 5.00"},
		"a window beyond the end": {
			[]string{"2026-03-01 2 12.00", "2026-03-02 0 0.00", "2026-03-03 2 3.00", "2026-03-04 0 0.00"},
			"extra: day=2026-03-04 n=0 revenue=0.00",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.platform.put(t, "analytics.daily", columns, table("day n revenue", "", c.rows...))
			report, err := CompareDerived(t.Context(), w, w.Replica, spec, EventTimes{}, calendar)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range report.Differences {
				got = append(got, d.String())
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestParametersAreLeftAloneInsideOtherTokens(t *testing.T) {
	values := map[string]string{"window_start": "S", "window_end": "E"}
	for query, want := range map[string]string{
		"@window_start,@window_end":            "S,E",
		"'@window_start' \"@window_end\"":      "'@window_start' \"@window_end\"",
		"-- @window_start\n@window_start":      "-- @window_start\nS",
		"/* @window_start */ @window_end":      "/* @window_start */ E",
		"@window_starts @other @ window_start": "@window_starts @other @ window_start",
		"'unfinished @window_start":            "'unfinished @window_start",
		"'it''s @window_start' @window_start":  "'it''s @window_start' S",
	} {
		if got := withParameters(query, values); got != want {
			t.Errorf("%s became %s, want %s", query, got, want)
		}
	}
}
