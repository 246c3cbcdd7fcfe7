package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	days         = 45 // the length of the calendar, today included
	items        = 24
	customers    = 60
	seededPerDay = 24
)

// Days of the calendar on which nothing is ever paid, and days and customers
// that lose all they have.
var (
	quietDays        = [...]int{13, 27}
	emptiedDays      = [...]int{9, 20, 33}
	emptiedCustomers = [...]int{7, 31}
)

// workload writes to the shop, and knows what is in it. It is used by one
// goroutine at a time.
type workload struct {
	shop   *shop
	rng    *rand.Rand
	begin  time.Time // the first day
	perDay int       // orders with which it begins
	counts Counts

	orders    []order
	payments  []payment
	refunds   []int64
	customers []int64
	lastID    int64
	gone      map[int]bool // customers that lost all orders
	empty     map[int]bool // days that lost all payments
	columns   bool         // the columns and fields that come later are there
}

type order struct {
	id       int64
	customer int
}

type payment struct {
	id, order int64
	day       int
}

func newWorkload(s *shop, seed uint64) *workload {
	today := time.Now().UTC().Truncate(24 * time.Hour)
	return &workload{
		shop: s, rng: rand.New(rand.NewPCG(seed, seed)), begin: today.AddDate(0, 0, 1-days), perDay: seededPerDay,
		gone: make(map[int]bool), empty: make(map[int]bool),
	}
}

// avoided says whether nothing may be paid on a day.
func (w *workload) avoided(day int) bool {
	return slices.Contains(quietDays[:], day) || w.empty[day]
}

// someDay is a day before today on which something may be paid.
func (w *workload) someDay() int {
	for {
		if day := w.rng.IntN(days - 1); !w.avoided(day) {
			return day
		}
	}
}

func (w *workload) customer() int {
	for {
		if c := 1 + w.rng.IntN(customers); !w.gone[c] {
			return c
		}
	}
}

func (w *workload) nextID() int64 {
	w.lastID++
	return w.lastID
}

// step makes one random commit.
func (w *workload) step(ctx context.Context) error {
	switch n := w.rng.IntN(100); {
	case n < 16:
		_, err := w.insertOrder(ctx, w.customer(), w.now())
		return err
	case n < 37:
		return w.insertPayment(ctx, w.someOrder().id, w.now())
	case n < 43:
		w.counts.Late++
		return w.insertPayment(ctx, w.someOrder().id, w.moment(w.someDay()))
	case n < 47:
		return w.payFirst(ctx)
	case n < 57:
		return w.changeOrder(ctx)
	case n < 63:
		return w.changePayment(ctx)
	case n < 69:
		return w.movePayment(ctx)
	case n < 73:
		return w.deletePayment(ctx)
	case n < 76:
		return w.deleteOrder(ctx)
	case n < 80:
		return w.moveOrderKey(ctx)
	case n < 84:
		return w.movePaymentKey(ctx)
	case n < 90:
		return w.insertRefund(ctx, w.somePayment().id, w.now())
	case n < 92:
		return w.changeRefund(ctx)
	case n < 94:
		return w.deleteRefund(ctx)
	case n < 97:
		return w.changeItem(ctx)
	default:
		return w.changeCustomer(ctx)
	}
}

func (w *workload) now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func (w *workload) someOrder() *order     { return &w.orders[w.rng.IntN(len(w.orders))] }
func (w *workload) somePayment() *payment { return &w.payments[w.rng.IntN(len(w.payments))] }

// done counts the rows of a commit.
func (w *workload) done(n int, err error) error {
	w.counts.Changes += n
	return err
}

func (w *workload) insertOrder(ctx context.Context, customer int, at time.Time) (int64, error) {
	o := order{w.nextID(), customer}
	return o.id, w.insertOrderAs(ctx, o, at)
}

func (w *workload) insertOrderAs(ctx context.Context, o order, at time.Time) error {
	w.orders = append(w.orders, o)
	row := newOrder{
		id: o.id, customer: o.customer, item: 1 + w.rng.IntN(items), quantity: 1 + w.rng.IntN(5),
		total: w.amount(900), note: note(w.rng), at: at,
	}
	if w.columns {
		row.channel = []string{"web", "app", "phone"}[w.rng.IntN(3)]
	}
	return w.done(w.shop.orders.insert(ctx, row))
}

func (w *workload) insertPayment(ctx context.Context, order int64, at time.Time) error {
	p := payment{w.nextID(), order, w.dayOf(at)}
	w.payments = append(w.payments, p)
	columns, values := "id, order_id, amount, method, paid_at", "?, ?, CAST(? AS decimal(12,2)), ?, ?"
	args := []any{p.id, p.order, w.amount(500), []string{"card", "cash", "transfer"}[w.rng.IntN(3)], at}
	if w.columns {
		columns, values, args = columns+", reference", values+", ?", append(args, fmt.Sprintf("ref-%d", p.id))
	}
	return w.done(w.shop.payments.exec(ctx, "INSERT INTO payments ("+columns+") VALUES ("+values+")", args...))
}

func (w *workload) dayOf(at time.Time) int { return int(at.Sub(w.begin) / (24 * time.Hour)) }

// payFirst has the payment come before its order, as it does when two
// services write to two databases.
func (w *workload) payFirst(ctx context.Context) error {
	o := order{w.nextID(), w.customer()}
	w.counts.Early++
	if err := w.insertPayment(ctx, o.id, w.now()); err != nil {
		return err
	}
	return w.insertOrderAs(ctx, o, w.now())
}

func (w *workload) changeOrder(ctx context.Context) error {
	o := w.someOrder()
	if w.rng.IntN(4) == 0 {
		o.customer = w.customer()
		return w.done(w.shop.orders.assign(ctx, o.id, o.customer))
	}
	return w.done(w.shop.orders.change(ctx, o.id, 1+w.rng.IntN(items), 1+w.rng.IntN(9), w.amount(900)))
}

func (w *workload) changePayment(ctx context.Context) error {
	return w.done(w.shop.payments.exec(ctx, "UPDATE payments SET amount = CAST(? AS decimal(12,2)) WHERE id = ?", w.amount(500), w.somePayment().id))
}

func (w *workload) movePayment(ctx context.Context) error {
	p, day := w.somePayment(), w.someDay()
	if day == p.day {
		return nil
	}
	p.day = day
	w.counts.Moved++
	return w.done(w.shop.payments.exec(ctx, "UPDATE payments SET paid_at = ? WHERE id = ?", w.moment(day), p.id))
}

func (w *workload) deletePayment(ctx context.Context) error {
	i := w.rng.IntN(len(w.payments))
	id := w.payments[i].id
	w.payments = slices.Delete(w.payments, i, i+1)
	w.counts.Deleted++
	return w.done(w.shop.payments.exec(ctx, "DELETE FROM payments WHERE id = ?", id))
}

// deleteOrder leaves the order's payments where they are: the other database
// does not know.
func (w *workload) deleteOrder(ctx context.Context) error {
	i := w.rng.IntN(len(w.orders))
	id := w.orders[i].id
	w.orders = slices.Delete(w.orders, i, i+1)
	w.counts.Deleted++
	return w.done(w.shop.orders.remove(ctx, id))
}

func (w *workload) moveOrderKey(ctx context.Context) error {
	o := w.someOrder()
	old := o.id
	o.id = w.nextID()
	w.counts.KeyMoves++
	return w.done(w.shop.orders.move(ctx, old, o.id))
}

func (w *workload) movePaymentKey(ctx context.Context) error {
	p := w.somePayment()
	old := p.id
	p.id = w.nextID()
	w.counts.KeyMoves++
	return w.done(w.shop.payments.exec(ctx, "UPDATE payments SET id = ? WHERE id = ?", p.id, old))
}

func (w *workload) changeItem(ctx context.Context) error {
	return w.done(w.shop.catalog.exec(ctx, "UPDATE items SET price = CAST(? AS numeric) WHERE id = ?", w.amount(200), 1+w.rng.IntN(items)))
}

// emptyDay takes all payments from a day: half of them are deleted, the others
// move to another day.
func (w *workload) emptyDay(ctx context.Context, day int) error {
	w.empty[day] = true
	w.counts.Emptied++
	start, other := w.begin.AddDate(0, 0, day), w.someDay()
	for half := range 2 {
		statement, args := "UPDATE payments SET paid_at = ? WHERE paid_at >= ? AND paid_at < ?", []any{w.moment(other), start, start.AddDate(0, 0, 1)}
		if half == 0 {
			statement, args = "DELETE FROM payments WHERE paid_at >= ? AND paid_at < ? AND id % 2 = 0", args[1:]
		}
		n, err := w.shop.payments.exec(ctx, statement, args...)
		if err := w.done(n, err); err != nil {
			return err
		}
		if half == 0 {
			w.counts.Deleted += n
		} else {
			w.counts.Moved += n
		}
	}
	w.payments = slices.DeleteFunc(w.payments, func(p payment) bool { return p.day == day && p.id%2 == 0 })
	for i := range w.payments {
		if w.payments[i].day == day {
			w.payments[i].day = other
		}
	}
	return nil
}

// emptyCustomer takes all orders from a customer.
func (w *workload) emptyCustomer(ctx context.Context, customer int) error {
	w.gone[customer] = true
	w.counts.Emptied++
	n, err := w.shop.orders.removeOf(ctx, customer)
	w.counts.Deleted += n
	w.orders = slices.DeleteFunc(w.orders, func(o order) bool { return o.customer == customer })
	return w.done(n, err)
}
