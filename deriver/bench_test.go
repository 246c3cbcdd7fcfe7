package deriver

import (
	"fmt"
	"testing"
)

// BenchmarkLateRow measures one late row from its load to the publication of
// its day, over a table of a hundred thousand payments in 100 days.
func BenchmarkLateRow(b *testing.B) {
	p := newPlatform(b)
	p.table("core.orders", "id int, item text, customer int", "merge").loads("2024-03-05T10:00:00Z", put(1, "tea", 7), put(2, "cup", 8))
	payments := p.table("core.payments", "id int, order_id int, amount int, paid_at ts", "merge")
	var rows []change
	for i := range 100_000 {
		rows = append(rows, put(i, 1+i%2, i%9, day(i%100)))
	}
	payments.loads("2024-03-05T10:00:00Z", rows...)
	p.derive(revenue)
	p.quiet()
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		payments.loads("2024-03-05T10:00:00Z", put(i, 1, 5, day(60+i%5)))
		b.StartTimer()
		p.quiet()
	}
}

func day(n int) string {
	return fmt.Sprintf("%sT09:00:00Z", at("2024-01-01").AddDate(0, 0, n).Format("2006-01-02"))
}
