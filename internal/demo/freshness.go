package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"millrace/internal/page"
	"millrace/schemas"
)

// The open loop: its schedule is fixed in advance, and a change goes out at
// its time whatever became of those before it. So a stall shows as latency.
const (
	rate      = 50 // changes a second
	loopFor   = 60 * time.Second
	loopTotal = int(loopFor/time.Second) * rate
)

// probe is one change of the open loop: the only one of its row, so that the
// load that the row names is the one that brought it.
type probe struct {
	table     string // core table
	id        int64
	derived   string        // the derived table that it must change; empty: none
	committed time.Time     // when COMMIT returned
	late      time.Duration // how long after its time on the schedule that was
}

// openLoop writes on schedule and returns what it wrote. It stops when the
// channel says that nobody listens any more.
func (w *workload) openLoop(ctx context.Context, total int, deaf <-chan struct{}) ([]probe, error) {
	writes := make([]func() error, total)
	probes := make([]probe, total)
	for i := range total {
		writes[i] = w.planProbe(ctx, i, &probes[i])
	}
	begin := time.Now()
	errs := make([]error, total+1)
	var group sync.WaitGroup
	for i := range total {
		due := begin.Add(time.Duration(i) * time.Second / rate)
		stop := false
		select {
		case <-ctx.Done():
			stop = true
		case <-deaf:
			stop = true
		case <-time.After(time.Until(due)):
		}
		if stop {
			break
		}
		group.Go(func() {
			errs[i] = writes[i]()
			probes[i].committed = time.Now()
			probes[i].late = probes[i].committed.Sub(due)
		})
	}
	group.Wait()
	w.counts.Changes += total
	errs[total] = ctx.Err()
	return probes, errors.Join(errs...)
}

// planProbe decides on a change without making it: half are payments, the rest
// orders, new and changed, and refunds.
func (w *workload) planProbe(ctx context.Context, i int, p *probe) func() error {
	switch i % 8 {
	case 2, 6:
		*p = probe{table: "core.orders", id: w.nextID(), derived: "analytics.customer_state"}
		row := newOrder{id: p.id, customer: w.customer(), item: 1, quantity: 1, total: w.amount(900)}
		return func() error {
			row.at = w.now()
			_, err := w.shop.orders.insert(ctx, row)
			return err
		}
	case 3:
		*p = probe{table: "core.orders", id: w.orders[i/8%len(w.orders)].id}
		id := p.id
		return func() error {
			_, err := w.shop.orders.settle(ctx, id, "paid "+strconv.Itoa(i))
			return err
		}
	case 7:
		*p = probe{table: "core.refunds", id: w.nextID()}
		id, payment, amount := p.id, w.somePayment().id, w.amount(100)
		return func() error {
			_, err := w.shop.refunds.exec(ctx, "INSERT INTO refunds (id, payment_id, amount, reason, refunded_at) VALUES (?, ?, CAST(? AS decimal(12,2)), 'late', ?)",
				id, payment, amount, w.now())
			return err
		}
	default:
		*p = probe{table: "core.payments", id: w.nextID(), derived: "analytics.item_revenue_daily"}
		order, amount, id := w.orders[i%len(w.orders)].id, w.amount(500), p.id
		return func() error {
			_, err := w.shop.payments.exec(ctx, "INSERT INTO payments (id, order_id, amount, method, paid_at) VALUES (?, ?, CAST(? AS decimal(12,2)), 'card', ?)",
				id, order, amount, w.now())
			return err
		}
	}
}

// freshness is what the open loop measured.
type freshness struct {
	core, derived latencies
	late          latencies // of the writer itself
	lost          int       // changes of which the warehouse says nothing
}

// loaded is when a load was committed, and what it was for.
type loaded struct {
	number int64
	at     time.Time
	cause  []schemas.Cause
}

// measure finds for each probe when it could be read: the load that its row
// names, and the first run that was caused by that load or a later one.
func measure(ctx context.Context, p querier, probes []probe) (*freshness, error) {
	rowsOf, loadsOf := make(map[string]map[int64]int64), make(map[string][]loaded)
	for _, probe := range probes {
		for _, table := range []string{probe.table, probe.derived} {
			if _, ok := loadsOf[table]; ok || table == "" {
				continue
			}
			var err error
			if loadsOf[table], err = loadsIn(ctx, p, table); err != nil {
				return nil, err
			}
		}
		if rowsOf[probe.table] == nil {
			rows, err := rowLoads(ctx, p, probe.table)
			if err != nil {
				return nil, err
			}
			rowsOf[probe.table] = rows
		}
	}
	f := &freshness{}
	for _, probe := range probes {
		f.late = append(f.late, probe.late)
		number := rowsOf[probe.table][probe.id]
		i := slices.IndexFunc(loadsOf[probe.table], func(l loaded) bool { return l.number == number })
		if i < 0 {
			f.lost++
			continue
		}
		f.core = append(f.core, loadsOf[probe.table][i].at.Sub(probe.committed))
		if probe.derived == "" {
			continue
		}
		at, ok := derivedAt(loadsOf[probe.derived], probe.table, loadsOf[probe.table][i])
		if !ok {
			f.lost++
			continue
		}
		f.derived = append(f.derived, at.Sub(probe.committed))
	}
	return f, nil
}

// derivedAt is when the first run was committed that a load of the table, or a
// later one, had caused. A run may read more than what caused it; what then
// follows changes nothing and leaves no event. So if there is no such run, the
// last one must have been early: it holds the load.
func derivedAt(runs []loaded, table string, load loaded) (time.Time, bool) {
	for _, run := range runs {
		if slices.ContainsFunc(run.cause, func(c schemas.Cause) bool { return c.Table == table && c.Load >= load.number }) {
			return run.at, true
		}
	}
	if len(runs) == 0 || runs[len(runs)-1].at.Before(load.at) {
		return time.Time{}, false
	}
	return runs[len(runs)-1].at, true
}

// querier answers one SELECT.
type querier interface {
	Query(ctx context.Context, sql string) (*page.Table, error)
}

// rowLoads says which load wrote each row of a core table.
func rowLoads(ctx context.Context, p querier, table string) (map[int64]int64, error) {
	t, err := p.Query(ctx, "SELECT id, _load FROM "+ownName(table, "__base.", ""))
	if err != nil {
		return nil, fmt.Errorf("ask which loads wrote %s: %w", table, err)
	}
	out := make(map[int64]int64, len(t.Rows))
	for _, row := range t.Rows {
		if row[0] == nil || row[1] == nil {
			continue
		}
		id, err1 := strconv.ParseInt(*row[0], 10, 64)
		load, err2 := strconv.ParseInt(*row[1], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("read which loads wrote %s: %w", table, err)
		}
		out[id] = load
	}
	return out, nil
}

// loadsIn reads a table's log of loads, in order.
func loadsIn(ctx context.Context, p querier, table string) ([]loaded, error) {
	t, err := p.Query(ctx, "SELECT event FROM millrace."+ownName(table, "__", "__loads")+" ORDER BY load")
	if err != nil {
		return nil, fmt.Errorf("ask for the loads of %s: %w", table, err)
	}
	var out []loaded
	for _, row := range t.Rows {
		var e schemas.LoadComplete
		if row[0] == nil {
			continue
		}
		if err := json.Unmarshal([]byte(*row[0]), &e); err != nil {
			return nil, fmt.Errorf("read the loads of %s: %w", table, err)
		}
		out = append(out, loaded{e.Load, e.CommittedAt, e.Cause})
	}
	return out, nil
}
