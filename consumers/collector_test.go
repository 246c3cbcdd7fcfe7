package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// gathered are the metrics of all tables, such as core.a/load_halted=1.
func gathered(t *testing.T, reg prometheus.Gatherer) []string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetGauge() != nil && len(m.GetLabel()) == 1 {
				out = append(out, fmt.Sprintf("%s/%s=%v", m.GetLabel()[0].GetValue(), strings.TrimPrefix(f.GetName(), "millrace_"), m.GetGauge().GetValue()))
			}
		}
	}
	slices.Sort(out)
	return out
}

// A table is accounted for by its owner alone, or by who has seen it halt.
func TestStatusAsMetrics(t *testing.T) {
	b := newBoard([]Table{{Topic: "a", Core: "core.a"}, {Topic: "b", Core: "core.b", History: "core.b_history"}, {Topic: "c", Core: "core.c"}})
	b.update("core.a", func(s *TableStatus) {
		s.Owned, s.Letters, s.Trouble = true, 2, "load core.a: no answer"
		s.Complete, s.LoadedAt = schemas.Progress{Time: time.UnixMilli(1500)}, time.Unix(2, 0)
		s.Snapshot.Running = true
	})
	b.update("core.b", func(s *TableStatus) { s.Halted = "the topic was made again" })
	b.update("core.b_history", func(s *TableStatus) { s.Letters, s.LoadedAt = 3, time.Unix(2, 0) }) // another's, by now
	b.update("core.c", func(s *TableStatus) { s.Trouble = "acquire core.c: no answer" })
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(newCollector(b))
	want := []string{
		"core.a/load_complete_through_seconds=1.5", "core.a/load_halted=0", "core.a/load_last_seconds=2",
		"core.a/load_retrying=1", "core.a/load_snapshot_running=1", "core.a/unresolved_dead_letters=2",
		"core.b/load_halted=1", "core.b/load_snapshot_running=0", "core.b/unresolved_dead_letters=0",
		"core.c/load_retrying=1",
	}
	if got := gathered(t, reg); !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// refusing is a warehouse that takes no load.
type refusing struct{ *memory }

func (refusing) Load(context.Context, *warehouse.Batch) (schemas.LoadComplete, error) {
	return schemas.LoadComplete{}, errors.New("no answer")
}

// A member that has left its group says no more that a load is tried again: that
// is for the next owner to say.
func TestTroubleIsLeftWithTheTable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	r.loader = refusing{r.mem}
	r.produce(r.put(s, 1, "v"))
	c, stop := r.start()
	r.await("the load is tried again", func() bool { return strings.Contains(status(c, "core.orders").Trouble, "no answer") })
	stop()
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(c.status))
	if got := gathered(t, reg); len(got) > 0 {
		t.Errorf("it still says %v", got)
	}
}
