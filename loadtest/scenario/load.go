package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"millrace/consumers"
	"millrace/internal/page"
	"millrace/internal/up"
	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
)

// load measures how fast a topic that is there is loaded.
func (r *rig) load(ctx context.Context) error {
	if err := r.openKafka(ctx); err != nil {
		return err
	}
	events := int64(r.file.Rows)
	g, bytes, err := r.fill(ctx, r.file.Rows, func(n int64) { r.tell("fill the topics", n, events) })
	if err != nil {
		return err
	}
	r.more("bytes_per_event", float64(bytes)/float64(events), "B")
	topics, err := r.topics()
	if err != nil {
		return err
	}
	r.tell("poll the limit", 0, events)
	c, err := r.start(ctx, "limit", rolePoll, pollArgs{r.at, topics, events}, new(json.RawMessage))
	if err != nil {
		return err
	}
	if _, err := c.Wait(ctx); err != nil {
		return err
	}
	limit := c.Cost
	if r.file.Warehouse == Discard {
		err = r.loadIntoNothing(ctx, topics, events)
	} else {
		err = r.loadIntoWarehouse(ctx, events, g)
	}
	r.limited("the same topics, polled by the client options of consumers and thrown away", events, limit.Wall, limit.CPU)
	return err
}

func (r *rig) loadIntoNothing(ctx context.Context, topics []string, events int64) error {
	args := discardArgs{At: r.at, Prefix: r.prefix, Events: events}
	if r.Profile {
		args.Profile = r.Out
	}
	for t, topic := range topics {
		args.Tables = append(args.Tables, consumers.Table{Topic: topic, Core: r.core(t), EventTimes: []string{workload.Created}})
	}
	r.tell("load", 0, events)
	c, err := r.start(ctx, "millrace", roleDiscard, args, new(json.RawMessage))
	if err != nil {
		return err
	}
	watch := r.watch(map[string]int{"millrace": c.PID, "broker": r.pids["broker"]})
	text, err := c.Wait(ctx)
	_, processes := watch.End()
	if err != nil {
		return err
	}
	var got Discarded
	if err := json.Unmarshal(text, &got); err != nil {
		return fmt.Errorf("read what was loaded: %w", err)
	}
	for i := range processes { // it has ended, and knows better itself
		if processes[i].Name == "millrace" {
			processes[i].CPUSeconds, processes[i].PeakRSSMB = c.Cost.CPU.Seconds(), float64(c.Cost.Peak)/1e6
		}
	}
	r.figures(events, c.Cost.Wall, measure.Of(processes, "millrace"), processes)
	r.more("rows_decoded", float64(got.Rows), "")
	r.result.Account(got.account(events))
	return nil
}

// account compares what was handed over with what there was. Rows are not kept,
// so none can be compared.
func (d Discarded) account(events int64) *measure.Account {
	a := &measure.Account{Lost: max(events-d.Events, 0) + d.Gaps, Duplicated: d.Repeats + max(d.Events-events-d.Repeats, 0), Wrong: d.Refused}
	if !a.OK() {
		a.Examples = []string{fmt.Sprintf("%d events were there, %d were handed over; %d offsets were left out, %d came again, %d events were refused",
			events, d.Events, d.Gaps, d.Repeats, d.Refused)}
	}
	return a
}

func (r *rig) loadIntoWarehouse(ctx context.Context, events int64, g *workload.Generator) error {
	warehouse, err := r.warehouse(ctx)
	if err != nil {
		return err
	}
	config, err := r.configure(true, warehouse, "")
	if err != nil {
		return err
	}
	loads, err := r.tail(ctx, r.at)
	if err != nil {
		return err
	}
	defer loads.close()
	p, err := r.run(ctx, config, up.Parts{Consume: true}, true)
	if err != nil {
		return err
	}
	began := time.Now()
	r.pids["millrace"] = p.PID
	watch := r.watch(r.pids)
	if err := r.awaitLoads(ctx, p, loads, events); err != nil {
		return err
	}
	wall, processes := watch.End()
	if last := loads.last(); !last.IsZero() {
		wall = last.Sub(began)
	}
	r.figures(events, wall, measure.Of(processes, "millrace"), processes)
	r.result.Detail.Timeline = loads.timeline(began)
	r.more("loads", float64(loads.count()), "")
	r.tell("account", 0, 0)
	a := &measure.Account{}
	for t := range r.file.Workload.Tables {
		source := measure.Rows{}
		columns := r.file.Workload.Columns()
		row := make([]*string, len(columns))
		g.Rows(t, func(o workload.Op) {
			for i, c := range columns {
				row[i] = workload.Literal(r.file.Workload.Value(c, o))
			}
			source[o.Key] = workload.Sum(columns, row)
		})
		if err := r.accountCore(ctx, p, t, source, a); err != nil {
			return err
		}
	}
	r.result.Account(a)
	_, err = p.Stop()
	return err
}

// awaitLoads returns when loads of so many events were announced.
func (r *rig) awaitLoads(ctx context.Context, p *product, loads *tailer, events int64) error {
	deadline := time.Now().Add(r.Patience)
	for {
		n := loads.events()
		r.tell("load", n, events)
		switch {
		case n >= events:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("load: %d of %d events were loaded within %s\n%s", n, events, r.Patience, p.Log())
		case p.Ended():
			_, err := p.Stop()
			return fmt.Errorf("load: millrace ended: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// rowsPerQuery is how many rows the product is asked for at once.
const rowsPerQuery = 50_000

// accountCore reads a core table through the product, and compares it.
func (r *rig) accountCore(ctx context.Context, p *product, t int, source measure.Rows, a *measure.Account) error {
	columns := r.file.Workload.Columns()
	texts := make([]string, len(columns))
	bigQuery := r.file.Warehouse == BigQueryFake || r.Config != nil && r.Config.Warehouse.Kind == "bigquery"
	for i, c := range columns {
		texts[i] = c.Name
		if c.Type == workload.Time {
			if texts[i] = "epoch_us(" + c.Name + ")"; bigQuery {
				texts[i] = "UNIX_MICROS(" + c.Name + ")"
			}
		}
	}
	var least, most int64
	for key := range source {
		most = max(most, key)
	}
	target := measure.NewTarget(r.core(t), a)
	ask := func(condition string) (*page.Table, error) {
		return p.Query(ctx, "SELECT "+strings.Join(texts, ", ")+" FROM "+r.core(t)+" WHERE "+condition)
	}
	take := func(answer *page.Table) error {
		for _, row := range answer.Rows {
			if row[0] == nil {
				a.Note(&a.Wrong, "%s: a row has no key", r.core(t))
				continue
			}
			key, err := strconv.ParseInt(*row[0], 10, 64)
			if err != nil {
				return fmt.Errorf("read a key of %s: %w", r.core(t), err)
			}
			target.Add(key, workload.Sum(columns, row))
		}
		return nil
	}
	for from := least; from <= most; from += rowsPerQuery {
		answer, err := ask(fmt.Sprintf("id >= %d AND id < %d", from, from+rowsPerQuery))
		if err != nil {
			return err
		}
		if err := take(answer); err != nil {
			return err
		}
		least = from + rowsPerQuery
	}
	// What lies beside the keys of the source should not be there.
	answer, err := ask(fmt.Sprintf("id IS NULL OR id < 0 OR id >= %d", least))
	if err != nil {
		return err
	}
	if err := take(answer); err != nil {
		return err
	}
	target.Compare(source)
	return nil
}
