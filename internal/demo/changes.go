package demo

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// insertCustomer makes a customer who has not ordered anything.
func (w *workload) insertCustomer(ctx context.Context) error {
	id := int64(1)
	if n := len(w.customers); n > 0 {
		id = w.customers[n-1] + 1
	}
	w.customers = append(w.customers, id)
	return w.done(w.shop.catalog.exec(ctx, "INSERT INTO customers (id, name, country) VALUES (?, ?, ?)", id, fmt.Sprintf("customer %d", id), w.country()))
}

func (w *workload) country() string { return countries[w.rng.IntN(len(countries))] }

// changeCustomer has a customer come, go or move. Who goes leaves their orders
// behind: the other database does not know.
func (w *workload) changeCustomer(ctx context.Context) error {
	switch i := w.rng.IntN(len(w.customers)); w.rng.IntN(6) {
	case 0:
		return w.insertCustomer(ctx)
	case 1:
		id := w.customers[i]
		if i == len(w.customers)-1 { // the next one is counted from the last
			return nil
		}
		w.customers = slices.Delete(w.customers, i, i+1)
		w.counts.Deleted++
		return w.done(w.shop.catalog.exec(ctx, "DELETE FROM customers WHERE id = ?", id))
	default:
		return w.done(w.shop.catalog.exec(ctx, "UPDATE customers SET country = ? WHERE id = ?", w.country(), w.customers[i]))
	}
}

func (w *workload) insertRefund(ctx context.Context, payment int64, at time.Time) error {
	id := w.nextID()
	w.refunds = append(w.refunds, id)
	return w.done(w.shop.refunds.exec(ctx, "INSERT INTO refunds (id, payment_id, amount, reason, refunded_at) VALUES (?, ?, CAST(? AS decimal(12,2)), ?, ?)",
		id, payment, w.amount(100), []string{"broken", "late", "unwanted"}[w.rng.IntN(3)], at))
}

// changeRefund changes a refund, now and then its key.
func (w *workload) changeRefund(ctx context.Context) error {
	i := w.rng.IntN(len(w.refunds))
	if w.rng.IntN(4) > 0 {
		return w.done(w.shop.refunds.exec(ctx, "UPDATE refunds SET amount = CAST(? AS decimal(12,2)) WHERE id = ?", w.amount(100), w.refunds[i]))
	}
	old := w.refunds[i]
	w.refunds[i] = w.nextID()
	w.counts.KeyMoves++
	return w.done(w.shop.refunds.exec(ctx, "UPDATE refunds SET id = ? WHERE id = ?", w.refunds[i], old))
}

func (w *workload) deleteRefund(ctx context.Context) error {
	i := w.rng.IntN(len(w.refunds))
	id := w.refunds[i]
	w.refunds = slices.Delete(w.refunds, i, i+1)
	w.counts.Deleted++
	return w.done(w.shop.refunds.exec(ctx, "DELETE FROM refunds WHERE id = ?", id))
}

// changeSchema adds two columns: one with a default, which changes every row
// without a word in the log, and one without. The orders' log carries less from
// then on.
func (w *workload) changeSchema(ctx context.Context) error {
	if _, err := w.shop.catalog.exec(ctx, "ALTER TABLE customers ADD COLUMN tier text NOT NULL DEFAULT 'basic'"); err != nil {
		return err
	}
	if _, err := w.shop.payments.exec(ctx, "ALTER TABLE payments ADD COLUMN reference varchar(40)"); err != nil {
		return err
	}
	w.columns = true
	w.counts.SchemaChanges += 2
	return w.shop.orders.images(ctx, false)
}

// quietDays counts the days between the first and the last payment on which
// nothing was ever paid; days that lost their payments do not count.
func (w *workload) quietDays(ctx context.Context) (int, error) {
	first, last, quiet := -1, -1, 0
	var paid [days]bool
	for day := range days {
		start := w.begin.AddDate(0, 0, day)
		n, err := w.shop.payments.count(ctx, "SELECT count(*) FROM payments WHERE paid_at >= ? AND paid_at < ?", start, start.AddDate(0, 0, 1))
		if err != nil {
			return 0, err
		}
		if paid[day] = n > 0; paid[day] {
			if first < 0 {
				first = day
			}
			last = day
		}
	}
	for day := first; day < last; day++ {
		switch {
		case !paid[day] && slices.Contains(quietDays[:], day):
			quiet++
		case paid[day] && w.empty[day]:
			return 0, fmt.Errorf("day %d was to lose all its payments and has some", day)
		}
	}
	return quiet, nil
}
