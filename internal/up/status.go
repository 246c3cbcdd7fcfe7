package up

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/consumers"
	"millrace/deriver"
	"millrace/internal/kafka"
	"millrace/internal/page"
	"millrace/producers"
)

// patience is for how long a status waits for the warehouse. It is asked for when
// something is wrong.
const patience = 3 * time.Second

// status gathers what every part knows.
func (p *process) status(ctx context.Context) page.Status {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	s := page.Status{
		Version: p.Version, Now: time.Now().UTC(), Started: p.began.UTC(),
		Sources: []page.Source{}, Core: []page.Core{}, Derived: []page.Derived{},
	}
	for i, source := range p.producers {
		s.Sources = append(s.Sources, sourceStatus(source.Status(), p.kinds[i]))
	}
	for _, c := range p.consumers {
		for _, t := range c.Status() {
			s.Core = append(s.Core, coreStatus(t))
		}
	}
	each(len(s.Core), func(i int) { s.Core[i].Rows = p.count(ctx, s.Core[i].Table) })
	p.showSources(s.Core)
	if p.derivers != nil {
		s.Derived = p.derivers.status(ctx)
		showGathering(s.Core, s.Derived)
		showAhead(s.Derived, s.Now)
		s.Notes = p.derivers.compareSpecs(s.Derived)
	}
	if ctx.Err() != nil {
		s.Notes = append([]string{"the warehouse does not answer: how many rows tables have, and when runs were made, is not known now"}, s.Notes...)
	}
	if note := p.Config.Stale(); note != "" {
		s.Notes = append([]string{note}, s.Notes...)
	}
	return s
}

// atOnce is how many tables a status asks for at a time: one after the other, those of
// a warehouse that is far away take longer than anyone waits.
const atOnce = 8

func each(n int, ask func(i int)) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error {
			ask(i)
			return nil
		})
	}
	_ = group.Wait() // what could not be answered is in the answers
}

// haltText is what is wrong and what to do, without the name of the table that
// it stands beside.
func haltText(err error) string {
	var halt *producers.HaltError
	if errors.As(err, &halt) {
		return fmt.Sprintf("%v: %s", halt.Err, halt.Cure())
	}
	return err.Error()
}

// showSources marks core tables whose source's table is not captured.
func (p *process) showSources(core []page.Core) {
	for _, source := range p.producers {
		status := source.Status()
		for _, t := range status.Tables {
			schema, table, _ := strings.Cut(t.ID, ".")
			topic, err := p.names.Table(kafka.TopicName{Source: status.Source, Schema: schema, Table: table, Generation: 1})
			if err != nil {
				continue // it halts the table, with these words
			}
			for i := range core {
				if first, _ := kafka.Generation(core[i].Topic); first == topic && t.Halted != nil {
					core[i].Halted = fmt.Sprintf("%s is not captured: %s", t.ID, haltText(t.Halted))
				}
			}
		}
	}
}

// showGathering marks derived tables that let loads of their inputs gather before
// they look at them. What runs elsewhere is not known.
func showGathering(core []page.Core, derived []page.Derived) {
	loads := map[string]int64{}
	for _, c := range core {
		loads[c.Table] = c.Load
	}
	for _, d := range derived {
		loads[d.Table] = d.Load
	}
	for i, d := range derived {
		for input, drained := range d.Drained {
			derived[i].Gathers = derived[i].Gathers || !d.Next.IsZero() && drained < loads[input]
		}
	}
}

// showAhead leaves out times that have come: the run is under way, or waits for its
// turn.
func showAhead(derived []page.Derived, now time.Time) {
	for i, d := range derived {
		if !d.Next.After(now) {
			derived[i].Next, derived[i].Freshness = time.Time{}, ""
		}
	}
}

// span is a time as people write it in a spec.
func span(d time.Duration) string {
	if d == 0 {
		return ""
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// status is in the order of the specs.
func (d *derivers) status(ctx context.Context) []page.Derived {
	d.mu.Lock()
	tables, waiting := slices.Clone(d.running), d.waiting
	broken := maps.Clone(d.broken)
	d.mu.Unlock()
	known := map[string]deriver.Status{}
	for _, table := range tables {
		s := table.Status()
		known[s.Table] = s
	}
	out := []page.Derived{}
	for _, s := range d.chosen {
		t := page.Derived{Table: s.Name, Waits: waiting, Error: broken[s.Name]}
		if k, ok := known[s.Name]; ok {
			t.Load, t.Complete, t.Waits, t.Dirty, t.Held, t.Error = k.Load, k.Complete, k.Waiting, k.Dirty, len(k.Held), k.Error
			t.Next, t.Freshness = k.Next, span(k.Freshness)
			t.Outside, t.Begin, t.Earlier, t.Drained = k.Outside, k.Begin, k.Earlier, k.Drained
			if len(k.Held) > 0 && t.Error == "" {
				t.Error = k.Held[0].Error
			}
			if why := broken[s.Name]; why != "" { // it says what to cure; the runs say only that they fail
				t.Error = why
			}
		}
		out = append(out, t)
	}
	each(len(out), func(i int) {
		out[i].Rows, out[i].LoadedAt = d.count(ctx, out[i].Table), d.ranAt(ctx, out[i].Table, out[i].Load)
	})
	return out
}

// ranAt is when the run was committed; zero if that cannot be told now. The
// warehouse is asked once for each run: its answers may cost.
func (d *derivers) ranAt(ctx context.Context, table string, load int64) time.Time {
	if load == 0 {
		return time.Time{}
	}
	d.mu.Lock()
	last, known := d.ran[table]
	d.mu.Unlock()
	if known && last.load == load {
		return last.at
	}
	events, err := d.warehouse.Loads(ctx, table, load-1, 1)
	if err != nil || len(events) == 0 {
		return time.Time{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ran[table] = ran{load, events[0].CommittedAt}
	return events[0].CommittedAt
}

// ran is when a run was committed.
type ran struct {
	load int64
	at   time.Time
}

func sourceStatus(s producers.Status, kind string) page.Source {
	out := page.Source{Source: s.Source, Kind: kind, Position: s.Position.String(), Complete: s.Complete.Time, Tables: []page.SourceTable{}}
	switch {
	case s.Running:
	case s.Err == nil:
		out.Opening = true
	case s.Ended():
		out.Halted = s.Err.Error()
	default:
		out.Retrying = oneLine(s.Err)
	}
	for _, t := range s.Tables {
		st := page.SourceTable{Table: t.ID, Topic: t.Topic}
		if t.Halted != nil {
			st.Halted = haltText(t.Halted)
		}
		if t.Snapshot.Running {
			st.Snapshot = fmt.Sprintf("snapshot, %d rows so far", t.Snapshot.Rows)
		}
		out.Tables = append(out.Tables, st)
	}
	return out
}

func coreStatus(t consumers.TableStatus) page.Core {
	return page.Core{
		Table: t.Table, Topic: t.Topic, Owned: t.Owned, Halted: t.Halted, Trouble: t.Trouble, Load: t.Load, LoadedAt: t.LoadedAt,
		Complete: page.Progress{Pos: t.Complete.Pos.String(), Time: t.Complete.Time},
		Snapshot: page.Snapshot{Running: t.Snapshot.Running, Done: t.Snapshot.Done}, Lag: t.Lag, Letters: t.Letters,
		Counts: page.Counts{Read: t.Rows.Read, Applied: t.Rows.Applied, Folded: t.Rows.Folded, Stale: t.Rows.Stale, Quarantined: t.Rows.Quarantined},
	}
}

// count is the number of rows that readers see, or -1 while there is no table.
func (p *process) count(ctx context.Context, table string) (n int64) {
	if p.warehouse == nil {
		return -1
	}
	if n, err := p.warehouse.Count(ctx, table); err == nil {
		return n
	}
	return -1
}

// maxRows bounds the answer to a query.
const maxRows = 1_000_000

// query answers a SELECT.
func (p *process) query(ctx context.Context, text string) (*page.Table, error) {
	if p.warehouse == nil {
		return nil, errors.New("this process has no warehouse")
	}
	answer, err := p.warehouse.Select(ctx, text, maxRows)
	if err != nil {
		return nil, err
	}
	return &page.Table{Columns: answer.Columns, Types: answer.Types, Rows: answer.Rows}, nil
}
