package up

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/consumers"
	"millrace/deriver"
	"millrace/internal/kafka"
	"millrace/internal/page"
	"millrace/producers"
)

// status gathers what every part knows.
func (p *process) status(ctx context.Context) page.Status {
	s := page.Status{
		Version: p.Version, Now: time.Now().UTC(), Started: p.began.UTC(),
		Sources: []page.Source{}, Core: []page.Core{}, Derived: []page.Derived{},
	}
	for i, source := range p.producers {
		s.Sources = append(s.Sources, sourceStatus(source.Status(), p.kinds[i]))
	}
	if p.consumer != nil {
		for _, t := range p.consumer.Status() {
			s.Core = append(s.Core, coreStatus(t, p.count(ctx, t.Table)))
		}
	}
	p.showSources(s.Core)
	if p.derivers != nil {
		s.Derived = p.derivers.status(ctx)
		s.Notes = p.derivers.compareSpecs(s.Derived)
	}
	if note := p.Config.Stale(); note != "" {
		s.Notes = append([]string{note}, s.Notes...)
	}
	return s
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
	for _, s := range d.specs {
		t := page.Derived{Table: s.Name, Rows: d.count(ctx, s.Name), Waits: waiting, Error: broken[s.Name]}
		if k, ok := known[s.Name]; ok {
			t.Load, t.Complete, t.Waits, t.Dirty, t.Held, t.Error = k.Load, k.Complete, strings.TrimPrefix(k.Waiting, "for "), k.Dirty, len(k.Held), k.Error
			t.LoadedAt, t.Outside, t.Begin = d.ranAt(ctx, s.Name, k.Load), k.Outside, k.Begin
			if len(k.Held) > 0 && t.Error == "" {
				t.Error = k.Held[0].Error
			}
			if why := broken[s.Name]; why != "" { // it says what to cure; the runs say only that they fail
				t.Error = why
			}
		}
		out = append(out, t)
	}
	return out
}

// ranAt is when the run was committed; zero if that cannot be told now.
func (d *derivers) ranAt(ctx context.Context, table string, load int64) time.Time {
	if load == 0 {
		return time.Time{}
	}
	events, err := d.duck.Loads(ctx, table, load-1, 1)
	if err != nil || len(events) == 0 {
		return time.Time{}
	}
	return events[0].CommittedAt
}

func sourceStatus(s producers.Status, kind string) page.Source {
	out := page.Source{Source: s.Source, Kind: kind, Position: s.Position.String(), Complete: s.Complete.Time, Tables: []page.SourceTable{}}
	if s.Err != nil && !s.Running {
		out.Halted = s.Err.Error()
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

func coreStatus(t consumers.TableStatus, rows int64) page.Core {
	return page.Core{
		Table: t.Table, Topic: t.Topic, Owned: t.Owned, Halted: t.Halted, Trouble: t.Trouble, Rows: rows, Load: t.Load, LoadedAt: t.LoadedAt,
		Complete: page.Progress{Pos: t.Complete.Pos.String(), Time: t.Complete.Time},
		Snapshot: page.Snapshot{Running: t.Snapshot.Running, Done: t.Snapshot.Done}, Lag: t.Lag, Letters: t.Letters,
		Counts: page.Counts{Read: t.Rows.Read, Applied: t.Rows.Applied, Folded: t.Rows.Folded, Stale: t.Rows.Stale, Quarantined: t.Rows.Quarantined},
	}
}

// count is the number of rows that readers see, or -1 while there is no table.
func (p *process) count(ctx context.Context, table string) (n int64) {
	if p.duck == nil {
		return -1
	}
	if n, err := p.duck.Count(ctx, table); err == nil {
		return n
	}
	return -1
}

// maxRows bounds the answer to a query.
const maxRows = 1_000_000

// query answers a SELECT. Values are cast to text by the warehouse itself, so
// that they are its own spelling.
func (p *process) query(ctx context.Context, text string) (*page.Table, error) {
	if p.duck == nil {
		return nil, errors.New("this process has no warehouse")
	}
	text = strings.TrimRight(strings.TrimSpace(text), "; \n\t")
	rows, err := p.duck.Query(ctx, "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (\n"+text+"\n)")
	if err != nil {
		// The person's own text makes a better error; and SHOW and DESCRIBE run
		// by themselves alone.
		if rows, err = p.duck.Query(ctx, text); err != nil {
			return nil, err
		}
	}
	defer func() { _ = rows.Close() }()
	out := &page.Table{Rows: [][]*string{}}
	if out.Columns, err = rows.Columns(); err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	if out.Types, err = p.types(ctx, text); err != nil {
		out.Types = make([]string, len(out.Columns)) // of SHOW and DESCRIBE
	}
	for rows.Next() {
		if len(out.Rows) == maxRows {
			return nil, fmt.Errorf("the answer has more than %d rows: add a LIMIT", maxRows)
		}
		row := make([]*string, len(out.Columns))
		into := make([]any, len(out.Columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, fmt.Errorf("read row: %w", err)
		}
		out.Rows = append(out.Rows, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	return out, nil
}

// types are the types of the query's columns.
func (p *process) types(ctx context.Context, text string) (out []string, err error) {
	rows, err := p.duck.Query(ctx, "SELECT column_type FROM (DESCRIBE "+text+")")
	if err != nil {
		return nil, fmt.Errorf("describe query: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("describe query: %w", err)
		}
		out = append(out, name)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("describe query: %w", err)
	}
	return out, nil
}
