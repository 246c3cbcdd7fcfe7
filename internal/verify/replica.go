package verify

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"millrace/internal/page"
)

// Replica is a DuckDB of its own, which holds copies of inputs and what is
// computed from them. A table is called by its name in the warehouse; queries
// read it through a view, which may show only a part of it.
type Replica struct {
	db *sql.DB
}

// copies is the schema of the tables behind the views.
const copies = "verify_copies"

// NewReplica makes an empty one in a file that is not there yet.
func NewReplica(ctx context.Context, path string) (*Replica, error) {
	connector, err := duckdb.NewConnector(path, func(conn driver.ExecerContext) error {
		_, err := conn.ExecContext(context.Background(), "SET TimeZone = 'UTC'; SET autoinstall_known_extensions = false", nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a DuckDB to compare with: %w", err)
	}
	r := &Replica{db: sql.OpenDB(connector)}
	r.db.SetMaxOpenConns(1)
	if err := r.exec(ctx, "CREATE SCHEMA "+copies); err != nil {
		return nil, errors.Join(err, r.db.Close())
	}
	return r, nil
}

// Close closes the file; it does not remove it.
func (r *Replica) Close() error {
	if err := r.db.Close(); err != nil {
		return fmt.Errorf("close the DuckDB to compare with: %w", err)
	}
	return nil
}

func (r *Replica) exec(ctx context.Context, statement string) error {
	if _, err := r.db.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("compute what should be: %w\n%s", err, statement)
	}
	return nil
}

// Query answers one SELECT.
func (r *Replica) Query(ctx context.Context, query string) (*page.Table, error) {
	described, err := r.db.QueryContext(ctx, "DESCRIBE "+query)
	if err != nil {
		return nil, fmt.Errorf("compute what should be: %w\n%s", err, query)
	}
	defer described.Close()
	out := &page.Table{Rows: [][]*string{}}
	var texts []string
	for described.Next() {
		var name, typ string
		var rest [4]any
		if err := described.Scan(&name, &typ, &rest[0], &rest[1], &rest[2], &rest[3]); err != nil {
			return nil, fmt.Errorf("describe a query: %w", err)
		}
		out.Columns, out.Types = append(out.Columns, name), append(out.Types, typ)
		texts = append(texts, "CAST("+ident(name)+" AS VARCHAR)")
	}
	if err := described.Err(); err != nil {
		return nil, fmt.Errorf("describe a query: %w", err)
	}
	rows, err := r.db.QueryContext(ctx, "SELECT "+strings.Join(texts, ", ")+" FROM (\n"+query+"\n)")
	if err != nil {
		return nil, fmt.Errorf("compute what should be: %w\n%s", err, query)
	}
	defer rows.Close()
	for rows.Next() {
		row, err := scanTexts(rows, len(out.Columns))
		if err != nil {
			return nil, err
		}
		out.Rows = append(out.Rows, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("compute what should be: %w", err)
	}
	return out, nil
}

func scanTexts(rows *sql.Rows, n int) ([]*string, error) {
	row, into := make([]*string, n), make([]any, n)
	for i := range row {
		into[i] = &row[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, fmt.Errorf("read a row: %w", err)
	}
	return row, nil
}

// column of a table that is copied.
type column struct {
	name, typ string // the type in DuckDB's words
}

// blob is the type whose texts are hexadecimal digits.
const blob = "BLOB"

// rowsPerInsert is how many rows one statement takes.
const rowsPerInsert = 200

// fill makes the table from rows of texts, until next returns io.EOF. A text
// that is no value of its column's type is an error.
func (r *Replica) fill(ctx context.Context, table string, columns []column, next func() ([]*string, error)) error {
	defs, casts := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		defs[i], casts[i] = ident(c.name)+" "+c.typ, "CAST(? AS "+c.typ+")"
		if c.typ == blob {
			casts[i] = "from_hex(?)"
		}
	}
	if err := r.exec(ctx, fmt.Sprintf("CREATE OR REPLACE TABLE %s (%s)", r.table(table), strings.Join(defs, ", "))); err != nil {
		return err
	}
	insert, values := "INSERT INTO "+r.table(table)+" VALUES ", "("+strings.Join(casts, ", ")+")"
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("copy %s: %w", table, err)
	}
	defer tx.Rollback()
	full, err := tx.PrepareContext(ctx, insert+strings.Repeat(values+", ", rowsPerInsert-1)+values)
	if err != nil {
		return fmt.Errorf("copy %s: %w", table, err)
	}
	defer func() { _ = full.Close() }() // the transaction's end is what counts
	var args []any
	for rows, done := 0, false; !done; {
		row, err := next()
		switch {
		case errors.Is(err, io.EOF):
			done = true
		case err != nil:
			return fmt.Errorf("copy %s: %w", table, err)
		default:
			rows++
			for _, v := range row {
				args = append(args, v)
			}
		}
		switch {
		case rows == rowsPerInsert:
			_, err = full.ExecContext(ctx, args...)
		case done && rows > 0:
			_, err = tx.ExecContext(ctx, insert+strings.Repeat(values+", ", rows-1)+values, args...)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", table, err)
		}
		rows, args = 0, args[:0]
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("copy %s: %w", table, err)
	}
	return r.show(ctx, table, "")
}

// listed gives rows one by one.
func listed(rows [][]*string) func() ([]*string, error) {
	return func() ([]*string, error) {
		if len(rows) == 0 {
			return nil, io.EOF
		}
		row := rows[0]
		rows = rows[1:]
		return row, nil
	}
}

// show lets queries see the rows of the table that the condition allows.
func (r *Replica) show(ctx context.Context, table, condition string) error {
	dataset, name, _ := strings.Cut(table, ".")
	if err := r.exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+ident(dataset)); err != nil {
		return err
	}
	if condition != "" {
		condition = " WHERE " + condition
	}
	return r.exec(ctx, fmt.Sprintf("CREATE OR REPLACE VIEW %s.%s AS SELECT * FROM %s%s", ident(dataset), ident(name), r.table(table), condition))
}

// table is where the rows of a table of the warehouse are.
func (r *Replica) table(name string) string { return copies + "." + ident(name) }

func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
