// Package source is the databases of a measurement: it writes the workload into
// one, reads its rows, and drains its log or its rows and throws them away, which
// is the limit of every capture.
//
// A kind of database is one file. None of it uses the producers: what they are
// measured against is made without them.
package source

import (
	"context"
	"encoding/json"
	"fmt"

	"millrace/internal/privateserver"
	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
)

// Database is a database that holds the tables of a workload.
type Database interface {
	// Create makes the tables, empty, and drops those that are left of another run.
	Create(ctx context.Context) error
	// Drop removes the tables.
	Drop(ctx context.Context) error
	// Write makes the transactions, one after the other.
	Write(ctx context.Context, txs ...workload.Tx) error
	// Rows reads a table: key and checksum of every row.
	Rows(ctx context.Context, table int) (measure.Rows, error)
	// Mark is where the log ends now; a drain begins there. What it holds back at
	// the server is let go by Release.
	Mark(ctx context.Context) (json.RawMessage, error)
	Release(ctx context.Context) error
	Version(ctx context.Context) (string, error)
	Close() error
}

// Place says which database is meant, and what is in it.
type Place struct {
	Kind        string
	DSN         string
	Spec        workload.Spec
	Prefix      string // of the tables' names
	Publication string // PostgreSQL: what the product publishes; it exists when Mark is called
}

// Table is the name of a table of the workload.
func (p Place) Table(n int) string { return fmt.Sprintf("%s%d", p.Prefix, n+1) }

// Drain is what a process of its own drains.
type Drain struct {
	Place Place
	// Mark is where the drain of the log begins, and Changes how many rows were
	// changed since. Without a mark, the rows of the tables are drained.
	Mark    json.RawMessage `json:",omitempty"`
	Changes int64
}

// kind is a kind of database.
type kind struct {
	server   privateserver.Kind
	tuning   []string
	database string                  // that a private server gets; empty: the one that always exists does
	schema   func(dsn string) string // of the tables
	open     func(Place) (Database, error)
	log      func(context.Context, Drain) error
	rows     func(context.Context, Drain) error
	// columns of a table, in the words of the product's configuration; nil: the
	// database tells them.
	columns func(workload.Spec) string
	// What log and rows are, in words.
	logLimit, rowsLimit string
}

// kinds are the databases that can be measured.
func kinds() map[string]kind {
	return map[string]kind{
		"postgres": {
			server: privateserver.Postgres, tuning: []string{"-c", "max_wal_size=8GB", "-c", "shared_buffers=256MB"},
			schema: func(string) string { return "public" }, open: openPostgres, log: drainPostgresLog, rows: drainPostgresRows,
			logLimit: "another slot with the same publication and protocol, drained and thrown away", rowsLimit: "COPY of the same tables, drained and thrown away",
		},
		"mariadb": {
			server: privateserver.MariaDB, tuning: []string{"--innodb-log-file-size=512M", "--innodb-buffer-pool-size=512M"},
			database: mariadbDatabase,
			schema:   databaseOf, open: openMariaDB, log: drainMariaDBLog, rows: drainMariaDBRows,
			logLimit: "the same binlog, its rows decoded by the library and thrown away", rowsLimit: "SELECT of the same tables, drained and thrown away",
		},
		"mysql": {
			server: privateserver.MySQL, tuning: []string{"--innodb-redo-log-capacity=512M", "--innodb-buffer-pool-size=512M"},
			database: mariadbDatabase,
			schema:   databaseOf, open: openMySQL, log: drainMySQLLog, rows: drainMariaDBRows,
			logLimit: "the same binlog, its rows decoded by the library and thrown away", rowsLimit: "SELECT of the same tables, drained and thrown away",
		},
		"mongodb": {
			schema: databaseOfMongo, open: openMongo, log: drainChangeStream, rows: drainCollections, columns: mongoColumns,
			logLimit: "the same change stream, drained and thrown away", rowsLimit: "a find over the same collections, drained and thrown away",
		},
	}
}

// Section is what stands about a table in the product's configuration, beside its
// event time.
func (p Place) Section() string {
	if columns := kinds()[p.Kind].columns; columns != nil {
		return ", columns: " + columns(p.Spec)
	}
	return ""
}

// Tuning are arguments of the private server, which else is tuned to start fast.
func Tuning(name string) []string { return kinds()[name].tuning }

// Prepare makes a database on a private server and returns its DSN. dsn gives
// that of a database; empty: of the one that always exists.
func Prepare(ctx context.Context, name string, dsn func(database string) string) (string, error) {
	k := kinds()[name]
	if k.database == "" {
		return dsn(""), nil
	}
	db, err := k.open(Place{Kind: name, DSN: dsn("")})
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }() // what it has made is made
	if err := db.(interface{ make(context.Context) error }).make(ctx); err != nil {
		return "", fmt.Errorf("make a database: %w", err)
	}
	return dsn(k.database), nil
}

// Known reports whether there is such a kind of database.
func Known(name string) bool { return kinds()[name].open != nil }

// Server is the private server of a kind.
func Server(name string) privateserver.Kind { return kinds()[name].server }

// Open connects.
func Open(p Place) (Database, error) {
	k, ok := kinds()[p.Kind]
	if !ok {
		return nil, fmt.Errorf("open a source of kind %s: there is no such kind", p.Kind)
	}
	return k.open(p)
}

// ID names a table as the configuration does.
func (p Place) ID(n int) string { return kinds()[p.Kind].schema(p.DSN) + "." + p.Table(n) }

// Run drains and throws away.
func (d Drain) Run(ctx context.Context) error {
	k := kinds()[d.Place.Kind]
	if d.Mark != nil {
		return k.log(ctx, d)
	}
	return k.rows(ctx, d)
}

// LimitOfLog says what the drain of a kind's log is.
func LimitOfLog(name string) string { return kinds()[name].logLimit }

// LimitOfRows says what the drain of a kind's rows is.
func LimitOfRows(name string) string { return kinds()[name].rowsLimit }
