package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

// Select is described at warehouse.Warehouse. Values are cast to text by the
// warehouse itself, so that they are its own spelling.
func (w *Warehouse) Select(ctx context.Context, query string, max int) (*warehouse.Answer, error) {
	query = strings.TrimRight(strings.TrimSpace(query), "; \n\t")
	rows, err := w.Query(ctx, "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (\n"+query+"\n)")
	if err != nil {
		// The person's own text makes a better error; and SHOW and DESCRIBE run
		// by themselves alone.
		if rows, err = w.Query(ctx, query); err != nil {
			return nil, err
		}
	}
	defer func() { _ = rows.Close() }()
	out := &warehouse.Answer{Rows: [][]*string{}}
	if out.Columns, err = rows.Columns(); err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	if columns, err := describe(ctx, w.reads, query); err == nil {
		for _, c := range columns {
			out.Types = append(out.Types, c.SQLType)
		}
	} else {
		out.Types = make([]string, len(out.Columns)) // of SHOW and DESCRIBE
	}
	for rows.Next() {
		if len(out.Rows) == max {
			return nil, warehouse.ErrTooManyRows
		}
		row := make([]*string, len(out.Columns))
		into := make([]any, len(out.Columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, fmt.Errorf("read row: %w", err)
		}
		out.Rows = append(out.Rows, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	return out, nil
}

// Loaded is described at warehouse.Warehouse.
func (w *Warehouse) Loaded(ctx context.Context) (table, topic string, err error) {
	conn, leave, err := w.writer(ctx)
	if err != nil {
		return "", "", err
	}
	defer leave()
	var heads []string
	err = each(ctx, conn, `SELECT table_name FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = $1
AND table_name LIKE 'core!_!_%!_!_head' ESCAPE '!' AND column_name = 'topic' ORDER BY 1`, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		heads = append(heads, name)
		return err
	}, sqlgen.Schema)
	if err != nil {
		return "", "", fmt.Errorf("list the heads: %w", err)
	}
	for _, head := range heads {
		err := conn.QueryRowContext(ctx, "SELECT topic FROM "+quoteName(sqlgen.Schema)+"."+quoteName(head)+" WHERE topic <> ''").Scan(&topic)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("read %s: %w", head, err)
		}
		return sqlgen.HeadOf(head), topic, nil
	}
	return "", "", nil
}
