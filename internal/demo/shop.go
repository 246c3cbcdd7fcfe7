package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"millrace/internal/config"
	"millrace/internal/verify"
)

// shop is the databases of a shop, as its own services see them.
type shop struct {
	places *places
	at     map[string]*place // by source

	catalog, payments, refunds *database
	orders                     orderBook
}

// openShop finds a place for each of the shop's services.
func openShop(ctx context.Context, p *places) (*shop, error) {
	s := &shop{places: p, at: make(map[string]*place)}
	for _, service := range services() {
		at, err := p.find(ctx, service)
		if err != nil {
			return nil, err
		}
		s.at[service.source] = at
	}
	s.catalog, s.payments, s.refunds = table(s.at["catalog_db"]), table(s.at["payments_db"]), table(s.at["refunds_db"])
	s.orders = orderRows{table(s.at["orders_db"])}
	if d := s.at["orders_db"].documents; d != nil {
		s.orders = orderDocuments{d}
	}
	return s, nil
}

// database is one with tables.
type database struct {
	db       *sql.DB
	numbered bool // its parameters are $1, $2, …
	moment   string
}

func table(at *place) *database {
	if at.kind == config.KindPostgres {
		return &database{at.db, true, "timestamptz"}
	}
	return &database{at.db, false, "timestamp(6)"}
}

// exec runs a statement with ? for parameters, and says how many rows it
// changed.
func (d *database) exec(ctx context.Context, statement string, args ...any) (int, error) {
	result, err := d.db.ExecContext(ctx, d.spell(statement), args...)
	if err != nil {
		return 0, fmt.Errorf("write to the shop: %w\n%s", err, statement)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("write to the shop: %w", err)
	}
	return int(n), nil
}

// count is the answer of a query with ? for parameters.
func (d *database) count(ctx context.Context, query string, args ...any) (n int, err error) {
	if err := d.db.QueryRowContext(ctx, d.spell(query), args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count in the shop: %w\n%s", err, query)
	}
	return n, nil
}

// spell gives a statement the database's parameters.
func (d *database) spell(statement string) string {
	if !d.numbered {
		return statement
	}
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
	if err := s.orders.create(ctx); err != nil {
		return err
	}
	for _, t := range []struct {
		*database
		statement string
	}{
		{s.catalog, `CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL, country text NOT NULL)`},
		{s.catalog, `CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, category text NOT NULL, price numeric(10,2) NOT NULL, description text)`},
		// Stored beside the row, so that an update that leaves it alone does not log it.
		{s.catalog, `ALTER TABLE items ALTER COLUMN description SET STORAGE EXTERNAL`},
		{s.payments, `CREATE TABLE payments (id bigint PRIMARY KEY, order_id bigint NOT NULL,
			amount decimal(12,2) NOT NULL, method varchar(20) NOT NULL, paid_at ` + s.payments.moment + ` NOT NULL)`},
		{s.refunds, `CREATE TABLE refunds (id bigint PRIMARY KEY, payment_id bigint NOT NULL,
			amount decimal(12,2) NOT NULL, reason varchar(40) NOT NULL, refunded_at ` + s.refunds.moment + ` NOT NULL)`},
	} {
		if _, err := t.exec(ctx, t.statement); err != nil {
			return err
		}
	}
	return nil
}

// environment holds the DSNs that the example's configuration asks for.
func (s *shop) environment() []string {
	var out []string
	for _, service := range services() {
		out = append(out, service.env+"="+s.at[service.source].dsn)
	}
	return out
}

// held says which database holds what, a line for each.
func (s *shop) held() []string {
	tables, order := make(map[*place][]string), []*place(nil)
	for _, service := range services() {
		at := s.at[service.source]
		if tables[at] == nil {
			order = append(order, at)
		}
		tables[at] = append(tables[at], service.tables...)
	}
	var out []string
	for _, at := range order {
		out = append(out, fmt.Sprintf("%-20s %s", at.what, strings.Join(tables[at], ", ")))
	}
	for _, kind := range canBeLeftOut() {
		if why, ok := s.places.without[kind]; ok {
			out = append(out, fmt.Sprintf("%-20s left out: %s", kind, why))
		}
	}
	return out
}

// marks are the ends of the databases' logs, by source.
func (s *shop) marks(ctx context.Context) (map[string]verify.Mark, error) {
	out := make(map[string]verify.Mark)
	for source, at := range s.at {
		db, err := verify.OpenDatabase(at.kind, at.dsn)
		if err != nil {
			return nil, err
		}
		mark, err := db.Mark(ctx)
		if err := errors.Join(err, db.Close()); err != nil {
			return nil, fmt.Errorf("find the end of the log of %s: %w", source, err)
		}
		out[source] = mark
	}
	return out, nil
}
