package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

var (
	categories = [...]string{"books", "garden", "kitchen", "music", "tools", "toys"}
	countries  = [...]string{"Chile", "France", "Ghana", "Japan", "Norway"}
)

// seed fills the past: orders, payments and refunds of every day but the quiet
// ones.
func (w *workload) seed(ctx context.Context) error {
	for range customers {
		if err := w.insertCustomer(ctx); err != nil {
			return err
		}
	}
	if err := w.seedItems(ctx); err != nil {
		return err
	}
	for day := range days {
		for range w.perDay {
			if err := w.seedOrder(ctx, day); err != nil {
				return err
			}
		}
	}
	return nil
}

// seedItems fills the catalog.
func (w *workload) seedItems(ctx context.Context) error {
	for id := 1; id <= items; id++ {
		_, err := w.shop.catalog.exec(ctx, "INSERT INTO items (id, name, category, price, description) VALUES (?, ?, ?, CAST(? AS numeric), ?)",
			id, fmt.Sprintf("item %d", id), categories[id%len(categories)], w.amount(200), longText(w.rng))
		if err != nil {
			return err
		}
	}
	return nil
}

// seedOrder makes an order of a day, and what follows it.
func (w *workload) seedOrder(ctx context.Context, day int) error {
	id, err := w.insertOrder(ctx, w.customer(), w.moment(day))
	if err != nil || w.avoided(day) {
		return err
	}
	if err := w.insertPayment(ctx, id, w.moment(day)); err != nil || w.rng.IntN(8) > 0 {
		return err
	}
	return w.insertRefund(ctx, w.payments[len(w.payments)-1].id, w.moment(day))
}

// moment is a random one of a day of the calendar; of today, one that is past.
func (w *workload) moment(day int) time.Time {
	start, span := w.begin.AddDate(0, 0, day), 24*time.Hour
	if day == days-1 {
		span = max(time.Since(start)-time.Second, time.Second)
	}
	return start.Add(time.Duration(w.rng.Int64N(int64(span)))).Truncate(time.Microsecond)
}

// amount is money as text: no number of the shop ever is a floating point.
func (w *workload) amount(below int) string {
	return fmt.Sprintf("%d.%02d", w.rng.IntN(below), 1+w.rng.IntN(99))
}

// note is a text, now and then one that is too long to be stored in its row.
func note(rng *rand.Rand) string {
	if rng.IntN(8) > 0 {
		return fmt.Sprintf("note %d", rng.IntN(1000))
	}
	return longText(rng)
}

func longText(rng *rand.Rand) string {
	var b strings.Builder
	for b.Len() < 4000 {
		fmt.Fprintf(&b, "%016x", rng.Uint64())
	}
	return b.String()
}
