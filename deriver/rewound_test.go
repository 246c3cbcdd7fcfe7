package deriver

import (
	"fmt"
	"strings"
	"testing"

	"millrace/schemas"
)

// rewind brings a core table's head and log back to an earlier load, as a person does
// who restores them. The rows are those of now.
func (p *platform) rewind(table string, load int64) {
	p.t.Helper()
	at := "millrace." + strings.ReplaceAll(table, ".", "__")
	p.damage(fmt.Sprintf("UPDATE %s__head SET load = %d; DELETE FROM %s__loads WHERE load > %d", at, load, at, load))
	c := p.core[table]
	head, err := p.w.Acquire(p.t.Context(), table, "topic", "id")
	if err != nil {
		p.t.Fatal(err)
	}
	c.epoch, c.load = head.Epoch, load
}

// An input that was brought back from a time before gives its next loads numbers that
// were had: what they change is computed all the same (G7, G12).
func TestInputBroughtBackFromATimeBefore(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue, customers)
	payments, orders := p.core["core.payments"], p.core["core.orders"]
	payments.loads("2024-03-05T11:00:00Z", put(13, 2, 1, "2024-03-01T10:00:00Z"))
	payments.loads("2024-03-05T11:00:01Z", put(14, 2, 1, "2024-03-01T10:00:00Z"))
	orders.loads("2024-03-05T11:00:00Z", put(3, "pan", 9))
	p.quiet()
	check := func(input string, load int64) {
		t.Helper()
		p.quiet()
		if got, want := p.rows("FROM analytics.revenue"), p.rows(revenueFull); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		for table, d := range p.derived {
			if s := d.Status(); s.Drained[input] != load || s.Absorbed[input] != load {
				t.Errorf("%s: %+v, want load %d of %s", table, s, load, input)
			}
		}
	}
	p.rewind("core.payments", 1)
	payments.loads("2024-03-05T12:00:00Z", put(20, 1, 9, "2024-03-02T10:00:00Z"))
	check("core.payments", 2)
	p.rewind("core.orders", 0)
	check("core.orders", 0)
	orders.loads("2024-03-05T12:00:00Z", put(1, "pot", 12))
	check("core.orders", 1)
	p.want("FROM analytics.customers WHERE customer IN (7, 12)", "12 1 20")
}

// Which rows of a log that was brought back are in an append table is not known: it
// says so, and adds none twice.
func TestLogBroughtBackFromATimeBefore(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	history := p.table("core.history", "id int, amount int", schemas.ModeAppend)
	p.derive("name: analytics.added\nstrategy: append\nquery: SELECT id FROM core.history")
	history.loads("2024-03-05T10:00:00Z", put(1, 10))
	history.loads("2024-03-05T10:00:01Z", put(2, 10))
	p.quiet()
	p.rewind("core.history", 1)
	if errs := p.settleOnce(); errs == nil || !strings.Contains(errs.Error(), "core.history: it is at load 1, and its rows up to load 2 were added") {
		t.Errorf("got %v", errs)
	}
	p.want("SELECT id FROM analytics.added", "1", "2")
}

// settleOnce is one cycle of the one table.
func (p *platform) settleOnce() error {
	p.t.Helper()
	_, err := p.derived[p.nodes[0].Spec.Name].cycle(p.t.Context())
	return err
}
