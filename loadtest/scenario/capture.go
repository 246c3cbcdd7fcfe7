package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"millrace/internal/page"
	"millrace/internal/up"
	"millrace/loadtest/measure"
	"millrace/loadtest/source"
	"millrace/loadtest/workload"
	"millrace/schemas"
)

// capture measures how fast a log that is there is captured.
func (r *rig) capture(ctx context.Context) error {
	if err := r.openKafka(ctx); err != nil {
		return err
	}
	if err := r.openSource(ctx); err != nil {
		return err
	}
	g := workload.New(r.file.Workload)
	if err := r.seed(ctx, g, r.file.Seeded, "seed"); err != nil {
		return err
	}
	config, err := r.configure(true, "{kind: duckdb}", "")
	if err != nil {
		return err
	}
	// The first start takes the tables up: their snapshots are not what is measured.
	r.tell("take the tables up", 0, 0)
	first, err := r.run(ctx, config, up.Parts{Produce: true}, false)
	if err != nil {
		return err
	}
	if err := r.awaitSnapshots(ctx, first); err != nil {
		return err
	}
	if _, err := first.Stop(); err != nil {
		return err
	}
	mark, err := r.db.Mark(ctx)
	if err != nil {
		return err
	}
	changes, events, err := r.writeLog(ctx, g)
	if err != nil {
		return err
	}
	r.tell("drain the limit", 0, events)
	limit, err := r.drain(ctx, source.Drain{Place: r.place, Mark: mark, Changes: changes})
	if err != nil {
		return err
	}
	if err := r.db.Release(ctx); err != nil {
		return err
	}
	p, err := r.run(ctx, config, up.Parts{Produce: true}, true)
	if err != nil {
		return err
	}
	r.pids["millrace"] = p.PID
	watch := r.watch(r.pids)
	reached, err := r.follow(ctx, p, events)
	if err != nil {
		return err
	}
	wall, processes := watch.End()
	last, err := r.settle(ctx, p, reached)
	if err != nil {
		return err
	}
	if last > 0 {
		wall = last
	}
	if _, err := p.Stop(); err != nil {
		return err
	}
	r.figures(events, wall, measure.Of(processes, "millrace"), processes)
	r.result.Detail.Timeline = reached.timeline
	r.limited(source.LimitOfLog(r.file.Source), events, limit.Wall, limit.CPU)
	r.tell("account", 0, 0)
	account, err := r.accountTopics(ctx, events)
	if err != nil {
		return err
	}
	r.result.Account(account)
	return nil
}

// snapshot measures how fast rows that are there are captured.
func (r *rig) snapshot(ctx context.Context) error {
	if err := r.openKafka(ctx); err != nil {
		return err
	}
	if err := r.openSource(ctx); err != nil {
		return err
	}
	if err := r.seed(ctx, workload.New(r.file.Workload), r.file.Rows, "fill the tables"); err != nil {
		return err
	}
	config, err := r.configure(true, "{kind: duckdb}", "")
	if err != nil {
		return err
	}
	rows := int64(r.file.Rows)
	r.tell("drain the limit", 0, rows)
	limit, err := r.drain(ctx, source.Drain{Place: r.place})
	if err != nil {
		return err
	}
	p, err := r.run(ctx, config, up.Parts{Produce: true}, true)
	if err != nil {
		return err
	}
	r.pids["millrace"] = p.PID
	watch := r.watch(r.pids)
	if err := r.awaitSnapshots(ctx, p); err != nil {
		return err
	}
	wall, processes := watch.End()
	if _, err := p.Stop(); err != nil {
		return err
	}
	r.figures(rows, wall, measure.Of(processes, "millrace"), processes)
	r.limited(source.LimitOfRows(r.file.Source), rows, limit.Wall, limit.CPU)
	r.tell("account", 0, 0)
	account, err := r.accountTopics(ctx, 0)
	if err != nil {
		return err
	}
	r.result.Account(account)
	return nil
}

// seed writes rows in large transactions.
func (r *rig) seed(ctx context.Context, g *workload.Generator, rows int, phase string) error {
	const each = 2000
	for done := 0; done < rows; done += each {
		r.tell(phase, int64(done), int64(rows))
		if err := r.db.Write(ctx, g.Fill(min(each, rows-done), time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// writeLog writes the changes that are to be captured, one after the other.
func (r *rig) writeLog(ctx context.Context, g *workload.Generator) (changes, events int64, err error) {
	total := int64(r.file.Rows)
	const together = 2000 // changes of a round trip
	for changes < total {
		r.tell("write the log", changes, total)
		var txs []workload.Tx
		for n := 0; n < together && changes < total; {
			tx := g.Next(int(total-changes), time.Now())
			txs = append(txs, tx)
			n += len(tx)
			changes += int64(len(tx))
			events += tx.Events()
		}
		if err := r.db.Write(ctx, txs...); err != nil {
			return 0, 0, err
		}
	}
	return changes, events, nil
}

// How often the product is asked how far it is, and how much it has sent: the
// answers are its own work, and would be a tenth of it if they came ten times as
// often.
const (
	askEvery   = 20 * time.Millisecond
	countEvery = 150 * time.Millisecond
)

// cost is what a limit has used.
type cost struct{ Wall, CPU time.Duration }

// drain measures a limit in a process of its own.
func (r *rig) drain(ctx context.Context, d source.Drain) (cost, error) {
	c, err := r.start(ctx, "limit", roleDrain, d, new(json.RawMessage))
	if err != nil {
		return cost{}, err
	}
	if _, err := c.Wait(ctx); err != nil {
		return cost{}, err
	}
	return cost{c.Cost.Wall, c.Cost.CPU}, nil
}

// awaitSnapshots returns when the product has read all rows of all tables.
func (r *rig) awaitSnapshots(ctx context.Context, p *product) error {
	tables := r.file.Workload.Tables
	return r.await(ctx, p, "the snapshots are done", askEvery, func(s *page.Status) (bool, error) {
		if len(s.Sources) != 1 || len(s.Sources[0].Tables) != tables {
			return false, nil
		}
		for _, t := range s.Sources[0].Tables {
			if t.Snapshot != "" {
				r.tell("capture rows", 0, 0)
				return false, nil
			}
		}
		sent, err := sent(ctx, p)
		r.tell("capture rows", sent[schemas.Read], int64(r.file.Rows))
		return sent[schemas.SnapshotDone] >= int64(tables), err
	})
}

// sent counts the changes that the product says it has sent, by what they do.
func sent(ctx context.Context, p *product) (map[schemas.Op]int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Addr+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	resp, err := p.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(&body)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	out := map[schemas.Op]int64{}
	for _, m := range families["millrace_producer_changes_total"].GetMetric() {
		for _, l := range m.GetLabel() {
			if op, ok := schemas.ParseOp([]byte(l.GetValue())); ok && l.GetName() == "op" {
				out[op] += int64(m.GetCounter().GetValue())
			}
		}
	}
	return out, nil
}

// followed is how a product came along.
type followed struct {
	began     time.Time
	positions []reachedAt
	timeline  []measure.Sample
}

// reachedAt is when a position was seen to be committed.
type reachedAt struct {
	after time.Duration
	pos   string
}

// follow returns when the product has sent so many changes.
func (r *rig) follow(ctx context.Context, p *product, events int64) (*followed, error) {
	f := &followed{began: time.Now()}
	var counted time.Time
	err := r.await(ctx, p, "the log is captured", askEvery, func(s *page.Status) (bool, error) {
		f.note(s)
		if time.Since(counted) < countEvery {
			return false, nil
		}
		counted = time.Now()
		sent, err := sent(ctx, p)
		n := sent[schemas.Create] + sent[schemas.Update] + sent[schemas.Delete]
		f.timeline = append(f.timeline, measure.Sample{Seconds: time.Since(f.began).Seconds(), Events: n})
		r.tell("capture", n, events)
		return n >= events, err
	})
	for len(f.timeline) > 300 {
		for i := range len(f.timeline) / 2 {
			f.timeline[i] = f.timeline[2*i+1]
		}
		f.timeline = f.timeline[:len(f.timeline)/2]
	}
	return f, err
}

// note remembers when a position was seen first, and reports whether it is new.
func (f *followed) note(s *page.Status) bool {
	pos := s.Sources[0].Position
	if n := len(f.positions); n > 0 && f.positions[n-1].pos == pos {
		return false
	}
	f.positions = append(f.positions, reachedAt{time.Since(f.began), pos})
	return true
}

// settle returns when the last change was committed, which is a little later
// than it was sent: the position of the topics' last event tells.
func (r *rig) settle(ctx context.Context, p *product, f *followed) (time.Duration, error) {
	topics, err := r.topics()
	if err != nil {
		return 0, err
	}
	// A transaction takes far less than that.
	for still := time.Now(); time.Since(still) < 300*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		s, err := p.Status(ctx)
		if err != nil {
			return 0, err
		}
		if f.note(s) {
			still = time.Now()
		}
	}
	var last schemas.Position
	err = r.read(ctx, r.at, topics, func(_ int, e *event) error {
		if e.op != schemas.Read {
			last = schemas.MaxPosition(last, e.pos)
		}
		return nil
	})
	for _, at := range f.positions {
		if at.pos >= last.String() { // the order of the text is that of positions (G2)
			return at.after, err
		}
	}
	return 0, err
}
