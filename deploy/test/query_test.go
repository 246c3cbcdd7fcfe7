package deploytest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// query is a query that was compared with the metrics that there are.
type query struct {
	known  map[string]metric
	faults []string
	used   map[string]bool // metrics, by the name that the code gives them
}

// check reads a query and reports its faults: metrics and labels that are not
// there, counters that are shown as they are, gauges whose rate is taken.
func check(text string, known map[string]metric) *query {
	q := &query{known: known, used: map[string]bool{}}
	e, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		q.fault("%v", err)
		return q
	}
	q.walk(e, "")
	return q
}

func (q *query) fault(format string, args ...any) {
	q.faults = append(q.faults, fmt.Sprintf(format, args...))
}

// walk visits e, which function is called on.
func (q *query) walk(e parser.Node, function string) {
	switch e := e.(type) {
	case *parser.VectorSelector:
		q.selector(e, function)
		return
	case *parser.Call:
		function = e.Func.Name
		if function == "histogram_quantile" {
			by, ok := e.Args[1].(*parser.AggregateExpr)
			if !ok || by.Without || !slices.Contains(by.Grouping, "le") {
				q.fault("histogram_quantile needs buckets that are summed by le: %s", e)
			}
		}
	case *parser.AggregateExpr:
		q.grouped(e.Grouping, e.Expr, e)
	case *parser.BinaryExpr:
		if e.VectorMatching != nil {
			q.grouped(e.VectorMatching.MatchingLabels, e.LHS, e)
			q.grouped(e.VectorMatching.MatchingLabels, e.RHS, e)
		}
	}
	for child := range parser.ChildrenIter(e) {
		q.walk(child, function)
	}
}

func (q *query) grouped(by []string, inner parser.Expr, e parser.Expr) {
	have := q.labels(inner)
	for i, label := range by {
		if slices.Contains(by[:i], label) {
			q.fault("label %s stands twice: %s", label, e)
		}
		if !slices.Contains(have, label) {
			q.fault("there is no label %s, but %s: %s", label, strings.Join(have, ", "), e)
		}
	}
}

// find is the metric of a series, and the name that the code gives it.
func (q *query) find(series string) (name string, m metric, ok bool) {
	if m, ok = q.known[series]; ok {
		return series, m, m.kind != "histogram"
	}
	for _, part := range []string{"_bucket", "_sum", "_count"} {
		name, is := strings.CutSuffix(series, part)
		if m, ok = q.known[name]; is && ok && m.kind == "histogram" {
			return name, metric{"counter", m.labels}, true
		}
	}
	return "", metric{}, false
}

func (q *query) selector(s *parser.VectorSelector, function string) {
	name, m, ok := q.find(s.Name)
	if !ok {
		q.fault("there is no series %s", s.Name)
		return
	}
	q.used[name] = true
	have := q.labels(s)
	for i, match := range s.LabelMatchers {
		if match.Name == "__name__" {
			continue
		}
		if !slices.Contains(have, match.Name) {
			q.fault("there is no label %s, but %s: %s", match.Name, strings.Join(have, ", "), s)
		}
		for _, other := range s.LabelMatchers[:i] {
			if other.Name == match.Name {
				q.fault("label %s stands twice: %s", match.Name, s)
			}
		}
	}
	switch rate := slices.Contains([]string{"rate", "irate", "increase"}, function); {
	case m.kind == "counter" && !rate:
		q.fault("a counter means nothing without rate or increase: %s", s)
	case m.kind != "counter" && rate:
		q.fault("%s of what is no counter: %s", function, s)
	}
}

// labels are those that a result has.
func (q *query) labels(e parser.Expr) []string {
	switch e := e.(type) {
	case *parser.VectorSelector:
		_, m, _ := q.find(e.Name)
		out := append(slices.Clone(m.labels), target...)
		if strings.HasSuffix(e.Name, "_bucket") {
			out = append(out, "le")
		}
		return out
	case *parser.MatrixSelector:
		return q.labels(e.VectorSelector)
	case *parser.ParenExpr:
		return q.labels(e.Expr)
	case *parser.UnaryExpr:
		return q.labels(e.Expr)
	case *parser.AggregateExpr:
		if e.Op == parser.TOPK || e.Op == parser.BOTTOMK {
			return q.labels(e.Expr)
		}
		return e.Grouping
	case *parser.BinaryExpr:
		if left := q.labels(e.LHS); len(left) > 0 {
			return left
		}
		return q.labels(e.RHS)
	case *parser.Call:
		if e.Func.Name == "histogram_quantile" {
			return slices.DeleteFunc(slices.Clone(q.labels(e.Args[1])), func(l string) bool { return l == "le" })
		}
		if len(e.Args) > 0 {
			return q.labels(e.Args[0])
		}
	}
	return nil
}

// resultLabels are those of a query without faults.
func resultLabels(text string, known map[string]metric) []string {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return nil
	}
	return (&query{known: known, used: map[string]bool{}}).labels(e)
}

// The check finds what it is for.
func TestFaultsOfQueries(t *testing.T) {
	known := map[string]metric{"c_total": {"counter", []string{"table"}}, "g": {"gauge", nil}, "h_seconds": {"histogram", []string{"table"}}}
	for text, want := range map[string]string{
		`sum by (table) (rate(c_total[5m]))`: "",
		`sum by (job, table) (g)`:            "there is no label table",
		`rate(d_total[5m])`:                  "there is no series d_total",
		`rate(c_total{tabel="x"}[5m])`:       "there is no label tabel",
		`c_total > 0`:                        "a counter means nothing",
		`topk(3, rate(g[5m]))`:               "rate of what is no counter",
		`rate(h_seconds[5m])`:                "there is no series h_seconds",
		`histogram_quantile(0.5, sum by (table, le) (rate(h_seconds_bucket[5m])))`:     "",
		`histogram_quantile(0.5, sum by (table) (rate(h_seconds_bucket[5m])))`:         "summed by le",
		`sum by (table, table) (rate(c_total[5m]))`:                                    "stands twice",
		`g unless on (job, source) g`:                                                  "there is no label source",
		`sum by (table) (rate(c_total[5m])) / sum by (table) (rate(c_total{job="x"[m)`: "unexpected",
		`sum by (le, table) (rate(c_total[5m]))`:                                       "there is no label le",
	} {
		got := strings.Join(check(text, known).faults, "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
