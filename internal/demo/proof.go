package demo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/internal/page"
	"millrace/internal/verify"
)

// ownName makes a name of dataset.table with something between and behind.
func ownName(table, between, behind string) string {
	dataset, name, _ := strings.Cut(table, ".")
	return dataset + between + name + behind
}

// captured are the tables of the shop, and the core tables that follow them.
func (s *shop) captured() []struct{ table, core string } {
	return []struct{ table, core string }{
		{"public.items", "core.items"},
		{"public.orders", "core.orders"},
		{s.paymentsTable(), "core.payments"},
	}
}

// proof compares everything that the warehouse holds with what it should hold.
type proof struct {
	shop     *shop
	client   verify.Platform
	prefix   string
	run      runFile
	dir      string
	specs    []*verify.Spec
	calendar verify.Calendar
}

// history is the append table of the payments' changes.
const history = "core.payments_history"

// eventTimes are those of the example's configuration and of the tables that
// its derived tables read.
func eventTimes() verify.EventTimes {
	return verify.EventTimes{
		"core.orders": "created_at", "core.payments": "paid_at",
		"analytics.item_revenue_daily": "day", "analytics.revenue_daily": "day", "analytics.revenue_trailing_7d": "day",
	}
}

// compare returns a report for each core table and then each derived table.
func (p *proof) compare(ctx context.Context) (core, derived []verify.Report, err error) {
	replica, err := verify.NewReplica(ctx, filepath.Join(p.dir, "verify.duckdb"))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, replica.Close()) }()
	core, err = p.compareCore(ctx, replica)
	if err != nil {
		return nil, nil, err
	}
	for _, spec := range inOrder(p.specs) {
		report, err := verify.CompareDerived(ctx, p.client, replica, spec, eventTimes(), p.calendar)
		if err != nil {
			return nil, nil, err
		}
		derived = append(derived, report)
	}
	return core, derived, nil
}

func (p *proof) compareCore(ctx context.Context, replica *verify.Replica) (reports []verify.Report, err error) {
	orders, err := verify.OpenDatabase("postgres", p.shop.ordersDSN)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, orders.Close()) }()
	payments := orders
	topic := p.prefix + "." + ordersSource + ".public.payments"
	if p.shop.split {
		if payments, err = verify.OpenDatabase("mariadb", p.shop.paymentsDSN); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, payments.Close()) }()
		topic = p.prefix + "." + paymentsSource + ".shop.payments"
	}
	for _, t := range p.shop.captured() {
		db := orders
		if t.core == "core.payments" {
			db = payments
		}
		report, err := verify.Core(ctx, p.client, replica, db, verify.Table{Name: t.table}, t.core, nil)
		if err != nil {
			return nil, err
		}
		reports = append(reports, report)
	}
	topics := verify.Topics{Brokers: p.run.Kafka, Registry: p.run.Registry}
	if err := topics.History(ctx, replica, topic, history); err != nil {
		return nil, err
	}
	report, err := verify.CompareHistory(ctx, p.client, replica, history)
	return append(reports, report), err
}

// inOrder puts every spec after those that it reads.
func inOrder(specs []*verify.Spec) []*verify.Spec {
	var out []*verify.Spec
	for len(out) < len(specs) {
		before := len(out)
		for _, s := range specs {
			waits := slices.ContainsFunc(specs, func(other *verify.Spec) bool {
				return other != s && strings.Contains(s.Query, other.Name) && !slices.Contains(out, other)
			})
			if !waits && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
		if len(out) == before {
			break // a cycle, which does not run either
		}
	}
	return out
}

// quietWithin is how long everything may take to be loaded and derived.
const quietWithin = 2 * time.Minute

// awaitQuiet waits until the warehouse holds everything that the shop holds,
// and all that follows from it.
func awaitQuiet(ctx context.Context, i *install, client *page.Client, s *shop, specs []*verify.Spec) error {
	marks, err := s.marks(ctx)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(quietWithin)
	for {
		why, err := unquiet(ctx, client, marks, specs)
		if err != nil || why == "" {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not everything arrives within %s: %s\n%s", quietWithin, why, i.log())
		}
		if err := i.pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// marks are the ends of the databases' logs, by core table.
func (s *shop) marks(ctx context.Context) (map[string]verify.Mark, error) {
	out := make(map[string]verify.Mark)
	for _, t := range s.captured() {
		kind, dsn := "postgres", s.ordersDSN
		if s.split && t.core == "core.payments" {
			kind, dsn = "mariadb", s.paymentsDSN
		}
		db, err := verify.OpenDatabase(kind, dsn)
		if err != nil {
			return nil, err
		}
		mark, err := db.Mark(ctx)
		if err := errors.Join(err, db.Close()); err != nil {
			return nil, fmt.Errorf("find the end of the log of %s: %w", t.table, err)
		}
		out[t.core] = mark
	}
	out[history] = out["core.payments"]
	return out, nil
}

// unquiet says what is still to be done, or nothing.
func unquiet(ctx context.Context, client *page.Client, marks map[string]verify.Mark, specs []*verify.Spec) (string, error) {
	status, err := client.Status(ctx)
	if err != nil {
		return "", err
	}
	loads := make(map[string]int64)
	for _, c := range status.Core {
		loads[c.Table] = c.Load
	}
	for core, mark := range marks {
		i := slices.IndexFunc(status.Core, func(c page.Core) bool { return c.Table == core })
		if i < 0 {
			return core + " is not there yet", nil
		}
		c := status.Core[i]
		ok, err := mark.Reached(c.Complete.Pos)
		switch {
		case err != nil:
			return "", fmt.Errorf("read how far %s is: %w", core, err)
		case c.Halted != "":
			return core + " is halted: " + c.Halted, nil
		case c.Letters > 0:
			return fmt.Sprintf("%s has %d dead letters", core, c.Letters), nil
		case !c.Snapshot.Done || c.Snapshot.Running:
			return core + " waits for its snapshot", nil
		case !ok:
			return core + " is complete through " + c.Complete.Pos, nil
		}
	}
	for _, d := range status.Derived {
		loads[d.Table] = d.Load
	}
	for _, spec := range specs {
		i := slices.IndexFunc(status.Derived, func(d page.Derived) bool { return d.Table == spec.Name })
		if i < 0 {
			return spec.Name + " is not there yet", nil
		}
		if d := status.Derived[i]; d.Dirty > 0 || d.Held > 0 {
			return fmt.Sprintf("%s has %d dirty and %d held: %s %s", d.Table, d.Dirty, d.Held, d.Waits, d.Error), nil
		}
		if why := undrained(status.Derived[i], loads); why != "" {
			return why, nil
		}
	}
	return "", nil
}

// undrained says which input's last load a derived table does not know.
func undrained(d page.Derived, loads map[string]int64) string {
	if len(d.Drained) == 0 {
		return d.Table + " has not begun"
	}
	for input, load := range d.Drained {
		if load < loads[input] {
			return fmt.Sprintf("%s knows %s up to load %d of %d", d.Table, input, load, loads[input])
		}
	}
	return ""
}
