package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"millrace/internal/privateserver"
)

// shop is the databases of a shop, as its own services see them.
type shop struct {
	orders   *sql.DB // items and orders, in PostgreSQL
	payments *sql.DB // the same one, or MariaDB
	split    bool    // payments are in MariaDB

	ordersDSN, paymentsDSN string
}

// days is the length of the calendar, today included.
const days = 45

// openShop makes the databases on servers that just started. mariadb is nil
// if payments are to live beside the orders.
func openShop(ctx context.Context, postgres, mariadb *privateserver.Server) (*shop, error) {
	if err := create(ctx, "pgx", postgres.DSN(""), "CREATE DATABASE shop"); err != nil {
		return nil, err
	}
	s := &shop{ordersDSN: postgres.DSN("shop")}
	var err error
	if s.orders, err = sql.Open("pgx", s.ordersDSN); err != nil {
		return nil, fmt.Errorf("open the orders' database: %w", err)
	}
	s.payments, s.paymentsDSN = s.orders, s.ordersDSN
	if mariadb != nil {
		if err := create(ctx, "mysql", mariadbDSN(mariadb, ""), "CREATE DATABASE shop"); err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.split, s.paymentsDSN = true, mariadb.DSN("shop")
		if s.payments, err = sql.Open("mysql", mariadbDSN(mariadb, "shop")); err != nil {
			return nil, errors.Join(fmt.Errorf("open the payments' database: %w", err), s.orders.Close())
		}
	}
	for _, db := range []*sql.DB{s.orders, s.payments} {
		db.SetMaxOpenConns(16)
		db.SetMaxIdleConns(16)
	}
	return s, nil
}

func create(ctx context.Context, driver, dsn, statement string) error {
	db, err := sql.Open(driver, dsn)
	if err == nil {
		_, err = db.ExecContext(ctx, statement)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		return fmt.Errorf("make a database: %w", err)
	}
	return nil
}

func mariadbDSN(s *privateserver.Server, db string) string {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.DBName = "root", "tcp", s.Addr(), db
	c.ParseTime, c.InterpolateParams = true, true
	c.Params = map[string]string{"time_zone": "'+00:00'"}
	return c.FormatDSN()
}

func (s *shop) close() error {
	err := s.orders.Close()
	if s.split {
		err = errors.Join(err, s.payments.Close())
	}
	return err
}

// paymentsTable is the name of the payments' table in its database.
func (s *shop) paymentsTable() string {
	if s.split {
		return "shop.payments"
	}
	return "public.payments"
}

// inPayments runs a statement with ? for parameters on the payments' database,
// and says how many rows it changed.
func (s *shop) inPayments(ctx context.Context, statement string, args ...any) (int, error) {
	if !s.split {
		statement = numbered(statement)
	}
	return execute(ctx, s.payments, statement, args)
}

// inOrders is inPayments for items and orders.
func (s *shop) inOrders(ctx context.Context, statement string, args ...any) (int, error) {
	return execute(ctx, s.orders, numbered(statement), args)
}

func execute(ctx context.Context, db *sql.DB, statement string, args []any) (int, error) {
	result, err := db.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, fmt.Errorf("write to the shop: %w\n%s", err, statement)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("write to the shop: %w", err)
	}
	return int(n), nil
}

// numbered gives a statement PostgreSQL's parameters.
func numbered(statement string) string {
	var b strings.Builder
	n := 0
	for _, r := range statement {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// createTables makes the shop's tables, empty.
func (s *shop) createTables(ctx context.Context) error {
	for _, statement := range []string{
		`CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, category text NOT NULL, price numeric(10,2) NOT NULL)`,
		`CREATE TABLE orders (
			id bigint PRIMARY KEY, customer_id bigint NOT NULL, item_id bigint NOT NULL, quantity int NOT NULL,
			status text NOT NULL, note text, created_at timestamptz NOT NULL)`,
		// Stored beside the row, so that an update that leaves it alone does not log it.
		`ALTER TABLE orders ALTER COLUMN note SET STORAGE EXTERNAL`,
	} {
		if _, err := s.inOrders(ctx, statement); err != nil {
			return err
		}
	}
	statement := `CREATE TABLE payments (
		id bigint PRIMARY KEY, order_id bigint NOT NULL, amount decimal(12,2) NOT NULL, method varchar(20) NOT NULL, paid_at %s NOT NULL)`
	moment := "timestamptz"
	if s.split {
		moment = "timestamp(6)"
	}
	_, err := s.inPayments(ctx, fmt.Sprintf(statement, moment))
	return err
}

var categories = [...]string{"books", "garden", "kitchen", "music", "tools", "toys"}

// seedItems fills the catalog.
func (w *workload) seedItems(ctx context.Context) error {
	for id := 1; id <= items; id++ {
		_, err := w.shop.inOrders(ctx, "INSERT INTO items (id, name, category, price) VALUES (?, ?, ?, CAST(? AS numeric))",
			id, fmt.Sprintf("item %d", id), categories[id%len(categories)], w.amount(200))
		if err != nil {
			return err
		}
	}
	return nil
}

// seed fills the past: orders and payments of every day but the quiet ones.
func (w *workload) seed(ctx context.Context) error {
	if err := w.seedItems(ctx); err != nil {
		return err
	}
	for day := range days {
		for range seededPerDay {
			at := w.moment(day)
			id, err := w.insertOrder(ctx, w.customer(), at)
			if err != nil {
				return err
			}
			if w.avoided(day) {
				continue
			}
			if err := w.insertPayment(ctx, id, w.moment(day)); err != nil {
				return err
			}
		}
	}
	return nil
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
func note(rng *rand.Rand) (text string, long bool) {
	if rng.IntN(8) > 0 {
		return fmt.Sprintf("note %d", rng.IntN(1000)), false
	}
	var b strings.Builder
	for b.Len() < 4000 {
		fmt.Fprintf(&b, "%016x", rng.Uint64())
	}
	return b.String(), true
}
