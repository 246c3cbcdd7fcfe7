package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"millrace/internal/config"
	"millrace/internal/privateserver"
)

// service is one of the shop's, with a source of the example's configuration
// for its database.
type service struct {
	source string
	env    string   // holds the DSN
	tables []string // in the order in which they are shown
	kinds  []string // of databases that can hold them: the example's first, then those that stand in for it
}

// services is where it is decided which database holds what.
func services() []service {
	return []service{
		{"catalog_db", "CATALOG_DSN", []string{"customers", "items"}, []string{config.KindPostgres}},
		{"orders_db", "ORDERS_DSN", []string{"orders"}, []string{config.KindMongoDB, config.KindPostgres}},
		{"payments_db", "PAYMENTS_DSN", []string{"payments"}, []string{config.KindMySQL, config.KindMariaDB, config.KindPostgres}},
		{"refunds_db", "REFUNDS_DSN", []string{"refunds"}, []string{config.KindMariaDB, config.KindMySQL, config.KindPostgres}},
	}
}

// canBeLeftOut are the kinds of databases without which the shop can do.
func canBeLeftOut() []string {
	return []string{config.KindMongoDB, config.KindMySQL, config.KindMariaDB}
}

// place is a database that the shop uses. It is empty at first.
type place struct {
	kind   string
	dsn    string // as a configuration has it
	schema string // stands before the names of its tables
	what   string // for people

	db        *sql.DB    // nil: it holds documents
	documents *documents // nil: it holds tables
}

// places are the databases of one demonstration. They belong to it, and so do
// the connections to them.
type places struct {
	start   func(context.Context, privateserver.Kind, ...string) (*privateserver.Server, error)
	mongoDB string            // connection string of a MongoDB; empty: there is none
	without map[string]string // kinds that are left out, and why

	open map[string]*place // by kind
}

// newPlaces refuses to do without a kind that nothing can stand in for.
func newPlaces(home *privateserver.Home, mongoDB string, without []string) (*places, error) {
	p := &places{start: home.Start, mongoDB: mongoDB, without: make(map[string]string), open: make(map[string]*place)}
	for _, kind := range without {
		if !slices.Contains(canBeLeftOut(), kind) {
			return nil, fmt.Errorf("the shop cannot be without %q: of %s it can", kind, strings.Join(canBeLeftOut(), ", "))
		}
		p.without[kind] = "it is not wanted"
	}
	return p, nil
}

// find returns the best place that there is for a service.
func (p *places) find(ctx context.Context, s service) (*place, error) {
	for i, kind := range s.kinds {
		if _, ok := p.without[kind]; ok {
			continue
		}
		if at, ok := p.open[kind]; ok {
			return at, nil
		}
		at, err := p.prepare(ctx, kind)
		var missing *privateserver.MissingError
		switch {
		case errors.As(err, &missing) && i < len(s.kinds)-1:
			p.without[kind] = missing.Error()
			continue
		case err != nil:
			return nil, err
		}
		if at == nil {
			p.without[kind] = "MONGODB_URI names none; make demo starts a stand-in"
			continue
		}
		p.open[kind] = at
		return at, nil
	}
	return nil, fmt.Errorf("there is no database for %s", s.source)
}

// prepare starts a server of the kind, or connects to the one that is there,
// and makes a database; nil if there is none.
func (p *places) prepare(ctx context.Context, kind string) (*place, error) {
	if kind == config.KindMongoDB {
		if p.mongoDB == "" {
			return nil, nil
		}
		d, err := openDocuments(ctx, p.mongoDB)
		if err != nil {
			return nil, err
		}
		return &place{kind: kind, dsn: p.mongoDB, schema: d.name(), what: d.server, documents: d}, nil
	}
	server, err := p.start(ctx, privateserver.Kind(kind))
	if err != nil {
		return nil, err
	}
	at := &place{kind: kind, dsn: server.DSN("shop"), schema: "shop"}
	driver, first, dsn := "mysql", mysqlDSN(server, ""), mysqlDSN(server, "shop")
	version := "SELECT VERSION()"
	if kind == config.KindPostgres {
		at.schema = "public"
		driver, first, dsn = "pgx", server.DSN(""), at.dsn
		version = "SHOW server_version"
	}
	if err := create(ctx, driver, first, "CREATE DATABASE shop"); err != nil {
		return nil, err
	}
	if at.db, err = sql.Open(driver, dsn); err != nil {
		return nil, fmt.Errorf("open the shop's database: %w", err)
	}
	at.db.SetMaxOpenConns(16)
	at.db.SetMaxIdleConns(16)
	if err := at.db.QueryRowContext(ctx, version).Scan(&at.what); err != nil {
		return nil, errors.Join(fmt.Errorf("ask the %s for its version: %w", kind, err), at.db.Close())
	}
	number, _, _ := strings.Cut(at.what, " ")
	number, _, _ = strings.Cut(number, "-")
	at.what = map[string]string{config.KindPostgres: "PostgreSQL ", config.KindMySQL: "MySQL ", config.KindMariaDB: "MariaDB "}[kind] + number
	return at, nil
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

func mysqlDSN(s *privateserver.Server, db string) string {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.DBName = "root", "tcp", s.Addr(), db
	c.ParseTime, c.InterpolateParams = true, true
	c.Params = map[string]string{"time_zone": "'+00:00'"}
	return c.FormatDSN()
}

// close closes the connections. The servers that were started are their home's;
// on the MongoDB, which is not, the database is dropped.
func (p *places) close() error {
	var errs []error
	for _, at := range p.open {
		if at.documents != nil {
			errs = append(errs, at.documents.close())
			continue
		}
		errs = append(errs, at.db.Close())
	}
	return errors.Join(errs...)
}
