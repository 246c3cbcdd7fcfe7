package demo

import (
	"context"
	"time"
)

// orderBook is where the shop keeps its orders: rows, or documents. A call is
// one commit, and returns how many of them it changed.
type orderBook interface {
	create(ctx context.Context) error
	insert(ctx context.Context, o newOrder) (int, error)
	assign(ctx context.Context, id int64, customer int) (int, error)
	change(ctx context.Context, id int64, item, quantity int, total string) (int, error)
	settle(ctx context.Context, id int64, status string) (int, error)
	move(ctx context.Context, from, to int64) (int, error)
	remove(ctx context.Context, id int64) (int, error)
	removeOf(ctx context.Context, customer int) (int, error)
	// images says whether the log has the whole of a row before it changed.
	images(ctx context.Context, whole bool) error
}

// newOrder is an order that comes.
type newOrder struct {
	id                       int64
	customer, item, quantity int
	total, note              string
	channel                  string // empty: orders have none yet
	at                       time.Time
}

// orderRows are orders in PostgreSQL.
type orderRows struct{ *database }

func (r orderRows) create(ctx context.Context) error {
	_, err := r.exec(ctx, `CREATE TABLE orders (
		id bigint PRIMARY KEY, customer_id bigint NOT NULL, item_id bigint NOT NULL, quantity int NOT NULL,
		total numeric(12,2) NOT NULL, status text NOT NULL, note text, channel text, created_at timestamptz NOT NULL)`)
	if err != nil {
		return err
	}
	// Stored beside the row, so that an update that leaves it alone does not log it.
	_, err = r.exec(ctx, "ALTER TABLE orders ALTER COLUMN note SET STORAGE EXTERNAL")
	return err
}

func (r orderRows) insert(ctx context.Context, o newOrder) (int, error) {
	return r.exec(ctx, `INSERT INTO orders (id, customer_id, item_id, quantity, total, status, note, channel, created_at)
		VALUES (?, ?, ?, ?, CAST(? AS numeric), 'open', ?, NULLIF(?, ''), ?)`,
		o.id, o.customer, o.item, o.quantity, o.total, o.note, o.channel, o.at)
}

func (r orderRows) assign(ctx context.Context, id int64, customer int) (int, error) {
	return r.exec(ctx, "UPDATE orders SET customer_id = ? WHERE id = ?", customer, id)
}

func (r orderRows) change(ctx context.Context, id int64, item, quantity int, total string) (int, error) {
	return r.exec(ctx, "UPDATE orders SET item_id = ?, quantity = ?, total = CAST(? AS numeric), status = 'changed' WHERE id = ?", item, quantity, total, id)
}

func (r orderRows) settle(ctx context.Context, id int64, status string) (int, error) {
	return r.exec(ctx, "UPDATE orders SET status = ? WHERE id = ?", status, id)
}

func (r orderRows) move(ctx context.Context, from, to int64) (int, error) {
	return r.exec(ctx, "UPDATE orders SET id = ? WHERE id = ?", to, from)
}

func (r orderRows) remove(ctx context.Context, id int64) (int, error) {
	return r.exec(ctx, "DELETE FROM orders WHERE id = ?", id)
}

func (r orderRows) removeOf(ctx context.Context, customer int) (int, error) {
	return r.exec(ctx, "DELETE FROM orders WHERE customer_id = ?", customer)
}

func (r orderRows) images(ctx context.Context, whole bool) error {
	identity := "DEFAULT"
	if whole {
		identity = "FULL"
	}
	_, err := r.exec(ctx, "ALTER TABLE orders REPLICA IDENTITY "+identity)
	return err
}
