package deploytest

import (
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

// scene is what Prometheus has scraped, a sample a minute from time 0, in the
// notation of its tests: 0+60x30 begins at 0 and adds 60, thirty times.
type scene struct {
	name   string
	series []string
	after  time.Duration // when it is looked at
	fires  []string      // the alerts, by name, severity and labels
}

var scenes = []scene{
	{"all is well", []string{
		`up{job="millrace", instance="a"} 1x120`,
		`millrace_build_info{job="millrace", instance="a", version="v1"} 1x120`,
		`millrace_producer_running{job="millrace", source="s"} 1x120`,
		`millrace_producer_halted{job="millrace", source="s"} 0x120`,
		`millrace_producer_halted_tables{job="millrace", source="s"} 0x120`,
		`millrace_producer_restarts_total{job="millrace", source="s"} 0x30 1x89`,
		`millrace_producer_chunk_retries_total{job="millrace", source="s"} 0x30 3x89`,
		`millrace_producer_retained_log_bytes{job="millrace", source="s"} 1000000x120`,
		// idle: it says how far it is every five minutes
		`millrace_producer_complete_through_seconds{job="millrace", source="s"} ` + every(5, 120),
		`millrace_load_halted{job="millrace", table="core.t"} 0x120`,
		`millrace_load_retrying{job="millrace", table="core.t"} 0x50 1x5 0x63`,
		`millrace_load_snapshot_running{job="millrace", table="core.t"} 0x120`,
		`millrace_unresolved_dead_letters{job="millrace", table="core.t"} 0x120`,
		`millrace_load_complete_through_seconds{job="millrace", table="core.t"} ` + every(6, 120),
		`millrace_consumer_rejoins_total{job="millrace", instance="a"} 0x60 1x59`,
		`millrace_duckdb_wal_bytes{job="millrace", instance="a"} 1000000x120`,
		`millrace_deriver_running{job="millrace", table="a.t"} 1x120`,
		`millrace_deriver_held{job="millrace", table="a.t"} 0x60 1x10 0x48`,
		`millrace_deriver_left_out_tables{job="millrace", instance="a"} 0x120`,
		`millrace_deriver_retries_total{job="millrace", table="a.t"} 0x60 2x59`,
		`millrace_deriver_complete_through_seconds{job="millrace", table="a.t"} ` + every(60, 120),
		`millrace_bigquery_waiting{job="millrace", instance="a", why="quota"} 0x60 3x10 0x48`,
		`millrace_bigquery_billed_bytes_total{job="millrace", instance="a", kind="load"} 0+100000000x120`,
		`millrace_bigquery_clock_skew_seconds{job="millrace", instance="a"} -1.5x120`,
	}, 2 * time.Hour, nil},
	{"a process is gone", []string{
		`up{job="millrace", instance="a"} 1x30 0x30`, `up{job="team/millrace-derive", instance="b"} 1x30 0x30`, `up{job="other", instance="c"} 0x60`,
		`millrace_build_info{job="millrace", instance="z"} 1x60`,
	}, 40 * time.Minute, []string{`MillraceDown page instance="a" job="millrace"`, `MillraceDown page instance="b" job="team/millrace-derive"`}},
	{"a process ends as soon as it has started", []string{ // for a source that has halted
		`up{job="millrace", instance="a"} 1x20 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0`,
		`millrace_build_info{job="millrace", instance="z"} 1x60`,
	}, 38 * time.Minute, []string{`MillraceDown page instance="a" job="millrace"`}},
	{"a process starts where its image is not yet", quiet( // a new node, one that an autoscaler added
		`up{job="data/millrace-shop", instance="b"} _x30 0 0 0 0 1x20`,
	), 33 * time.Minute, nil},
	{"a process never begins to answer", quiet(`up{job="data/millrace-shop", instance="b"} _x30 0x20`), 38 * time.Minute, []string{`MillraceDown page instance="b" job="data/millrace-shop"`}},
	{"a process is killed again and again, and answers in between", quiet( // for its memory
		`up{job="millrace", instance="a"} 1x90`, `process_start_time_seconds{job="millrace", instance="a"} 0x20 1200x12 2000x12 2700x12 3400x30`,
	), 75 * time.Minute, []string{`MillraceRestarts ticket instance="a" job="millrace"`}},
	{"a process is upgraded", quiet(
		`up{job="millrace", instance="a"} 1x90`, `process_start_time_seconds{job="millrace", instance="a"} 0x20 1200x60`,
	), 70 * time.Minute, nil},
	{"parts have no process any more", quiet( // pods that cannot be scheduled are no targets
		`millrace_producer_running{job="m", source="s"} 1x60 _x40`, `millrace_load_retrying{job="m", table="core.t"} 0x60 _x40`,
		`millrace_deriver_running{job="m", table="a.t"} 1x60 _x40`,
		// this one waits for a person, and says so
		`millrace_load_retrying{job="m", table="core.u"} 0x60 _x40`, `millrace_load_halted{job="m", table="core.u"} 0x60 1x40`,
	), 95 * time.Minute, []string{
		`MillraceCoreTableHalted ticket job="m" table="core.u"`, `MillraceGone ticket job="m" source="s"`,
		`MillraceGone ticket job="m" table="a.t"`, `MillraceGone ticket job="m" table="core.t"`,
	}},
	{"parts move and start anew", quiet(
		`millrace_producer_running{job="m", instance="a", source="s"} 1x60 _x10 1x30`, `millrace_load_retrying{job="m", instance="a", table="core.t"} 0x60 _x40`,
		`millrace_load_retrying{job="m", instance="b", table="core.t"} _x62 0x40`, `millrace_deriver_running{job="m", table="a.t"} 1x60 _x12 1x30`,
	), 75 * time.Minute, nil},
	{"nothing is scraped", nil, 20 * time.Minute, []string{`MillraceAbsent page`}},
	{"a source halts", quiet(
		`millrace_producer_running{job="m", source="s"} 1x10 0x20`, `millrace_producer_halted{job="m", source="s"} 0x10 1x20`,
	), 25 * time.Minute, []string{`MillraceSourceHalted page job="m" source="s"`}},
	{"a source was taken over", quiet( // by a process of the same installation
		`millrace_producer_running{job="m", instance="a", source="s"} 1x10 0x50`, `millrace_producer_halted{job="m", instance="a", source="s"} 0x10 1x50`,
		`millrace_producer_running{job="m", instance="b", source="s"} _x10 1x50`, `millrace_producer_halted{job="m", instance="b", source="s"} _x10 0x50`,
	), 50 * time.Minute, nil},
	{"a source cannot be opened", quiet(
		`millrace_producer_running{job="m", source="s"} 1x10 0x30`, `millrace_producer_halted{job="m", source="s"} 0x40`,
		`millrace_producer_restarts_total{job="m", source="s"} 0x10 0+2x30`,
	), 40 * time.Minute, []string{`MillraceSourceNotRead page job="m" source="s"`, `MillraceSourceRestarts ticket job="m" source="s"`}},
	{"a source has stood still", quiet(
		`millrace_producer_complete_through_seconds{job="m", source="s"} 0+60x10 600x40`,
	), 40 * time.Minute, []string{`MillraceCaptureLate page job="m" source="s"`}},
	{"tables halt on both sides", quiet(
		`millrace_producer_halted_tables{job="m", source="s"} 0x5 2x15`, `millrace_load_halted{job="m", table="core.t"} 0x5 1x15`,
	), 15 * time.Minute, []string{`MillraceCoreTableHalted ticket job="m" table="core.t"`, `MillraceSourceTablesHalted ticket job="m" source="s"`}},
	{
		"log is kept", quiet(`millrace_producer_retained_log_bytes{job="m", source="s"} 20e9x30`),
		30 * time.Minute,
		[]string{`MillraceRetainedLog ticket job="m" source="s"`},
	},
	{
		"much log is kept", quiet(`millrace_producer_retained_log_bytes{job="m", source="s"} 60e9x30`),
		30 * time.Minute,
		[]string{`MillraceRetainedLog page job="m" source="s"`, `MillraceRetainedLog ticket job="m" source="s"`},
	},
	{
		"chunks repeat", quiet(`millrace_producer_chunk_retries_total{job="m", source="s"} 0+1x90`),
		90 * time.Minute,
		[]string{`MillraceSnapshotChunksRepeat ticket job="m" source="s"`},
	},
	{"a core table is stale", quiet(
		`millrace_load_complete_through_seconds{job="m", table="core.t"} 0x60`, `millrace_load_snapshot_running{job="m", table="core.t"} 0x60`,
		`millrace_unresolved_dead_letters{job="m", table="core.t"} 0x60`, `millrace_load_halted{job="m", table="core.t"} 0x60`,
	), 50 * time.Minute, []string{`MillraceCoreTableStale page job="m" table="core.t"`}},
	{"a core table is held back, and it is known why", quiet(
		`millrace_load_complete_through_seconds{job="m", table="core.a"} 0x60`, `millrace_load_snapshot_running{job="m", table="core.a"} 1x60`,
		`millrace_load_complete_through_seconds{job="m", table="core.b"} 0x60`, `millrace_unresolved_dead_letters{job="m", table="core.b"} 4x60`,
		`millrace_load_complete_through_seconds{job="m", table="core.c"} 0x60`, `millrace_load_halted{job="m", table="core.c"} 1x60`,
	), 50 * time.Minute, []string{`MillraceCoreTableHalted ticket job="m" table="core.c"`, `MillraceDeadLetters ticket job="m" table="core.b"`}},
	{"a table has moved to another member", quiet( // the metrics of the first have ended
		`millrace_load_complete_through_seconds{job="m", instance="a", table="core.t"} 0+60x10 _x50`,
		`millrace_load_complete_through_seconds{job="m", instance="b", table="core.t"} _x10 600+60x50`,
	), 55 * time.Minute, nil},
	{"loads fail", quiet(`millrace_load_retrying{job="m", table="core.t"} 1x30`), 20 * time.Minute, []string{`MillraceLoadRetrying ticket job="m" table="core.t"`}},
	{
		"a snapshot takes long", quiet(`millrace_load_snapshot_running{job="m", table="core.t"} 1x800`),
		13 * time.Hour,
		[]string{`MillraceSnapshotLong ticket job="m" table="core.t"`},
	},
	{
		"a consumer rejoins", quiet(`millrace_consumer_rejoins_total{job="m", instance="a", group="p.consumers"} 0+1x60`),
		time.Hour,
		[]string{`MillraceConsumerRejoins ticket group="p.consumers" job="m"`},
	},
	{"brokers restart, and each of many consumers rejoins", quiet(
		`millrace_consumer_rejoins_total{job="m", instance="a", group="p.consumers"} 0x50 2x10`, `millrace_consumer_rejoins_total{job="m", instance="b", group="p.consumers"} 0x50 2x10`,
		`millrace_consumer_rejoins_total{job="m", instance="c", group="p.consumers"} 0x50 2x10`, `millrace_consumer_rejoins_total{job="m", instance="d", group="p.consumers.big"} 0x50 2x10`,
	), time.Hour, nil},
	{
		"DuckDB's log grows", quiet(`millrace_duckdb_wal_bytes{job="m", instance="a"} 5e9x60`),
		time.Hour,
		[]string{`MillraceDuckDBLog ticket instance="a" job="m"`},
	},
	{"windows are held", quiet(`millrace_deriver_held{job="m", table="a.t"} 2x60`), time.Hour, []string{`MillraceDerivedTableHeld ticket job="m" table="a.t"`}},
	{"a deriver is out, another left out, a third interrupted", quiet(
		`millrace_deriver_running{job="m", table="a.t"} 1x10 0x50`, `millrace_deriver_left_out_tables{job="m", instance="a"} 1x60`,
		`millrace_deriver_retries_total{job="m", table="a.u"} 0+1x60`,
	), time.Hour, []string{
		`MillraceDerivedTableOut ticket job="m" table="a.t"`, `MillraceDerivedTablesLeftOut ticket job="m"`, `MillraceDeriverRetries ticket job="m" table="a.u"`,
	}},
	{"a derived table is a day old", quiet(`millrace_deriver_complete_through_seconds{job="m", table="a.t"} 0x1500`), 25 * time.Hour, nil},
	{
		"a derived table is older than a day", quiet(`millrace_deriver_complete_through_seconds{job="m", table="a.t"} 0x1700`),
		27 * time.Hour,
		[]string{`MillraceDerivedTableStale ticket job="m" table="a.t"`},
	},
	{
		"BigQuery is away: those who give up ask again later", quiet(`millrace_bigquery_waiting{job="m", instance="a", why="no answer"} 1x2 0x0 1x2 0x0 1x2 0x0 1x2 0x0 1x2 0x0 1x2 0x0 1x2 0x0 1x2`),
		30 * time.Minute,
		[]string{`MillraceBigQueryWaiting ticket job="m" why="no answer"`},
	},
	{"a quota is spent, a clock is wrong", quiet(
		`millrace_bigquery_waiting{job="m", instance="a", why="quota"} 2x30`, `millrace_bigquery_clock_skew_seconds{job="m", instance="a"} -200x30`,
	), 30 * time.Minute, []string{`MillraceBigQueryWaiting ticket job="m" why="quota"`, `MillraceClockSkew ticket instance="a" job="m"`}},
	{
		"BigQuery costs", quiet(`millrace_bigquery_billed_bytes_total{job="m", instance="a", kind="run"} 0+10e9x1500`),
		25 * time.Hour,
		[]string{`MillraceBigQueryBytes ticket job="m"`},
	},
}

// quiet has someone there, so that the absence of all is not what fires.
func quiet(series ...string) []string {
	return append(series, `millrace_build_info{job="m", instance="z"} 1x2000`)
}

// every is a time that moves every so many minutes only.
func every(step, minutes int) string {
	var out strings.Builder
	for m := range minutes {
		fmt.Fprintf(&out, "%d ", (m-m%step)*60)
	}
	return out.String()
}

// The alerts that are to fire do, when they are to, and no other.
func TestScenes(t *testing.T) {
	all := alerts(t)
	fired := map[string]bool{}
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			store := promqltest.LoadedStorage(t, "load 1m\n  "+strings.Join(s.series, "\n  "))
			engine := promqltest.NewTestEngine(t, false, 0, 1_000_000)
			var got []string
			for _, r := range all {
				got = append(got, evaluate(t, r, rules.EngineQueryFunc(engine, store), s.after)...)
			}
			slices.Sort(got)
			if !slices.Equal(got, s.fires) {
				t.Errorf("fires\n  %s\nand not\n  %s", strings.Join(got, "\n  "), strings.Join(s.fires, "\n  "))
			}
			for _, a := range got {
				name, _, _ := strings.Cut(a, " ")
				fired[name] = true
			}
		})
	}
	for _, r := range all {
		if !fired[r.Alert] {
			t.Errorf("no scene has %s fire", r.Alert)
		}
	}
}

// evaluate evaluates the rule every minute, as Prometheus does, and returns what
// fires in the end.
func evaluate(t *testing.T, r rulefmt.Rule, query rules.QueryFunc, after time.Duration) (out []string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
	if err != nil {
		t.Fatal(err)
	}
	rule := rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor),
		labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
	// What is far before the end cannot matter, and takes long.
	for at := max(0, after-time.Duration(r.For)-10*time.Minute); at <= after; at += time.Minute {
		if _, err := rule.Eval(t.Context(), 0, time.Unix(0, 0).Add(at), query, &url.URL{}, 0); err != nil {
			t.Fatalf("%s: %v", r.Alert, err)
		}
	}
	for _, a := range rule.ActiveAlerts() {
		if a.State != rules.StateFiring {
			continue
		}
		line := r.Alert + " " + a.Labels.Get("severity")
		a.Labels.Range(func(l labels.Label) {
			if l.Name != "severity" && l.Name != "alertname" {
				line += fmt.Sprintf(" %s=%q", l.Name, l.Value)
			}
		})
		a.Annotations.Range(func(l labels.Label) {
			if strings.Contains(l.Value, "<error") || strings.Contains(l.Value, "<no value>") || strings.Contains(l.Value, "{{") {
				t.Errorf("%s: %s is %q", r.Alert, l.Name, l.Value)
			}
		})
		out = append(out, line)
	}
	return out
}
