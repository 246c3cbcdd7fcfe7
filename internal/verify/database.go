package verify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Mark is a place in a source's log: a log position, or file and offset.
type Mark struct {
	Major, Minor uint64
}

// Copied says what a copy of a source's table shows: everything up to Low, and
// nothing above High.
type Copied struct {
	Key       []string // the columns that it is known by
	Low, High Mark
}

// Database is a source, read with its plain SQL driver.
type Database struct {
	db        *sql.DB
	reader    reader
	documents *documents // in place of both
}

// reader is what differs between kinds of databases.
type reader interface {
	begin(ctx context.Context, conn *sql.Conn) error
	mark(ctx context.Context, q querier) (Mark, error)
	describe(ctx context.Context, conn *sql.Conn, table Table) (layout, error)
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Table is a table of a source as its configuration names it.
type Table struct {
	Name      string   // schema.table or database.table
	Key       []string // empty: its primary key
	Text      []string // columns of PostgreSQL that are captured as text
	ZeroDates bool     // dates of MariaDB that no calendar has are null
	Fields    []Field  // columns of MongoDB's documents
	Promote   bool     // there are more of them, which the platform chose
}

// layout is how a table is read.
type layout struct {
	columns []column
	respell []respelling // by column; nil: the text is taken as it is
	key     []string
	query   string // gives every column as text
}

// respelling turns the server's text of a value into the one that the
// warehouse reads.
type respelling func(text string) (*string, error)

// scan reads a row of the layout's query.
func (l *layout) scan(rows *sql.Rows) ([]*string, error) {
	row, err := scanTexts(rows, len(l.columns))
	if err != nil {
		return nil, err
	}
	for i, respell := range l.respell {
		if respell == nil || row[i] == nil {
			continue
		}
		if row[i], err = respell(*row[i]); err != nil {
			return nil, fmt.Errorf("column %q: %w", l.columns[i].name, err)
		}
	}
	return row, nil
}

// OpenDatabase prepares to read a source. Kind and DSN are those of its
// configuration.
func OpenDatabase(kind, dsn string) (*Database, error) {
	switch kind {
	case "postgres":
		db, err := sql.Open("pgx", dsn)
		if err != nil {
			return nil, fmt.Errorf("open the source: %w", err)
		}
		return &Database{db: db, reader: postgres{}}, nil
	case "mariadb", "mysql":
		text, err := driverDSN(dsn)
		if err != nil {
			return nil, err
		}
		db, err := sql.Open("mysql", text)
		if err != nil {
			return nil, fmt.Errorf("open the source: %w", err)
		}
		return &Database{db: db, reader: mariadb{}}, nil
	case "mongodb":
		d, err := openDocuments(dsn)
		if err != nil {
			return nil, err
		}
		return &Database{documents: d}, nil
	}
	return nil, fmt.Errorf("sources of kind %q cannot be verified", kind)
}

// driverDSN is the form in which the driver wants mysql://user:pass@host:port/db.
func driverDSN(dsn string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errors.New("open the source: its DSN is no URL") // the error would show a password
	}
	c := mysql.NewConfig()
	c.Net, c.Addr, c.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	if u.Port() == "" {
		c.Addr += ":3306"
	}
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.TLSConfig = u.Query().Get("tls")
	c.Params = map[string]string{"time_zone": "'+00:00'", "sql_mode": "''"}
	return c.FormatDSN(), nil
}

// Close closes its connections.
func (d *Database) Close() error {
	if d.documents != nil {
		return d.documents.close()
	}
	return d.db.Close()
}

// Mark is a place in the log at or above every change that was committed before.
func (d *Database) Mark(ctx context.Context) (Mark, error) {
	if d.documents != nil {
		return d.documents.mark(ctx)
	}
	return d.reader.mark(ctx, d.db)
}

var errNotThere = errors.New("it is not there, or may not be read: make it again, and it is read anew, " +
	"or take it out of the configuration and restart millrace; until then the core table keeps the rows that it had")

// Copy copies a table as of one moment into the replica, under the name of its
// core table.
func (d *Database) Copy(ctx context.Context, into *Replica, table Table, core string) (Copied, error) {
	fail := func(err error) (Copied, error) {
		return Copied{}, fmt.Errorf("copy %s from its source: %w", table.Name, err)
	}
	if d.documents != nil {
		copied, err := d.documents.copy(ctx, into, table, core)
		if err != nil {
			return fail(err)
		}
		return copied, nil
	}
	low, err := d.Mark(ctx)
	if err != nil {
		return fail(err)
	}
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	if err := d.reader.begin(ctx, conn); err != nil {
		return fail(err)
	}
	l, err := d.reader.describe(ctx, conn, table)
	if err != nil {
		return fail(err)
	}
	rows, err := conn.QueryContext(ctx, l.query)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	err = into.fill(ctx, core, l.columns, func() ([]*string, error) {
		if rows.Next() {
			return l.scan(rows)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	})
	if err != nil {
		return fail(err)
	}
	if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		return fail(err)
	}
	high, err := d.Mark(ctx)
	if err != nil {
		return fail(err)
	}
	return Copied{Key: l.key, Low: low, High: high}, nil
}
