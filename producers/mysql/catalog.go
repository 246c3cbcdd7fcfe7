package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"millrace/producers"
)

// querier is a pool, or one of its connections.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// catalog knows what the server says about its collations and tables.
type catalog struct {
	kind       dialect
	collations map[uint64]string // character set by number of the collation
}

// definition is a table as the server describes it now.
type definition struct {
	schema, name string
	jsonColumns  string // the query for them
	comment      string
	columns      []column
	primary      []string
	uniques      map[string][]uniquePart
	cascades     []string // foreign keys that change its rows without an event
}

// uniquePart is one column of a unique key.
type uniquePart struct {
	column           string
	nullable, prefix bool
}

var (
	errNoTable    = errors.New("there is no such table")
	errNoMetadata = errors.New("the binlog does not name the columns")
)

func readCatalog(ctx context.Context, q querier, kind dialect) (*catalog, error) {
	rows, err := q.QueryContext(ctx, kind.collations())
	if err != nil {
		return nil, fmt.Errorf("read the server's collations: %w", err)
	}
	defer rows.Close()
	c := &catalog{kind: kind, collations: map[uint64]string{}}
	for rows.Next() {
		var id uint64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return nil, fmt.Errorf("read the server's collations: %w", err)
		}
		c.collations[id] = name
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the server's collations: %w", err)
	}
	return c, nil
}

// define reads a table. A table that cannot be captured is a HaltError, one
// that is not there errNoTable.
func (c *catalog) define(ctx context.Context, q querier, schema, name string) (*definition, error) {
	d := &definition{schema: schema, name: name, jsonColumns: c.kind.jsonColumns(), uniques: map[string][]uniquePart{}}
	for _, step := range []func(context.Context, querier) error{d.readTable, d.readColumns, d.readKeys, d.readCascades} {
		if err := step(ctx, q); err != nil {
			return nil, fmt.Errorf("read the definition of %s.%s: %w", schema, name, err)
		}
	}
	return d, nil
}

func (d *definition) id() string { return d.schema + "." + d.name }

func (d *definition) halt(err error, hint string) error {
	return &producers.HaltError{Table: d.id(), Err: err, Hint: hint}
}

func (d *definition) readTable(ctx context.Context, q querier) error {
	var kind, transactional string
	err := q.QueryRowContext(ctx, `SELECT t.TABLE_TYPE, t.TABLE_COMMENT, COALESCE(e.TRANSACTIONS, '')
		FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
		WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?`, d.schema, d.name).Scan(&kind, &d.comment, &transactional)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return errNoTable
	case err != nil:
		return err
	case kind == "SYSTEM VERSIONED":
		return d.halt(errors.New("it is system-versioned: the binlog mixes its history with its rows"),
			"ALTER TABLE "+quoteTable(d.schema, d.name)+" DROP SYSTEM VERSIONING, or take it out of the configuration")
	case kind != "BASE TABLE":
		return d.halt(fmt.Errorf("it is a %s, not a table", strings.ToLower(kind)),
			"capture the tables that it reads, or take it out of the configuration")
	case transactional != "YES":
		return d.halt(errors.New("its storage engine has no transactions, so no snapshot of it is consistent"),
			"ALTER TABLE "+quoteTable(d.schema, d.name)+" ENGINE=InnoDB")
	}
	return nil
}

func (d *definition) readColumns(ctx context.Context, q querier) error {
	jsons, err := queryStrings(ctx, q, d.jsonColumns, d.schema, d.name)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, `SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, COALESCE(CHARACTER_SET_NAME, ''),
		COALESCE(NUMERIC_PRECISION, 0), COALESCE(NUMERIC_SCALE, 0), COLUMN_COMMENT
		FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION`, d.schema, d.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var col column
		var dataType, columnType, charsetName string
		var precision, scale int
		if err := rows.Scan(&col.name, &dataType, &columnType, &charsetName, &precision, &scale, &col.comment); err != nil {
			return err
		}
		if err := col.declare(strings.ToLower(dataType), strings.ToLower(columnType), charsetName, precision, scale, slices.Contains(jsons, col.name)); err != nil {
			return d.halt(fmt.Errorf("column %q: %w", col.name, err),
				"ALTER TABLE "+quoteTable(d.schema, d.name)+" MODIFY "+quoteName(col.name)+" …, or take the table out of the configuration")
		}
		d.columns = append(d.columns, col)
	}
	return rows.Err()
}

// declare gives a column what follows from its declaration. It says the same as
// catalog.describe says about the binlog's description of it.
func (col *column) declare(dataType, columnType, charsetName string, precision, scale int, isJSON bool) error {
	unsigned, width := strings.Contains(columnType, "unsigned"), 0
	if strings.Contains(columnType, "compressed") {
		return errors.New("it is COMPRESSED, which the binlog reader does not know")
	}
	switch dataType {
	case "tinyint", "smallint", "mediumint", "int":
		col.form = formInt
	case "bigint":
		if col.form = formInt; unsigned {
			col.form = formUnsigned64
		}
	case "year":
		col.form = formYear
	case "float", "double":
		col.form = formFloat
	case "decimal":
		col.form = formDecimal
	case "bit":
		col.form, width = formBit, precision
	case "date":
		col.form = formDate
	case "datetime":
		col.form = formDateTime
	case "timestamp":
		col.form = formTimestamp
	case "time":
		col.form = formTime
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		if col.form = formText; isJSON {
			col.form = formJSON
		}
	case "json":
		col.form = formJSON
	case "enum":
		col.form = formEnum
	case "set":
		col.form = formSet
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob",
		"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection",
		"vector":
		col.form = formBytes
	case "uuid":
		col.form = formUUID
	case "inet4", "inet6":
		col.form = formInet
	default:
		return fmt.Errorf("its type %s is not captured", dataType)
	}
	switch col.form {
	case formText, formJSON, formEnum, formSet:
		if charsetName == "" || charsetName == binaryCharset {
			charsetName = "utf8mb4"
		}
		var err error
		if col.text, err = charsetOf(charsetName); err != nil {
			return err
		}
	}
	col.typ = typeOf(col.form, width, precision, scale)
	return nil
}

func (d *definition) readKeys(ctx context.Context, q querier) error {
	rows, err := q.QueryContext(ctx, `SELECT INDEX_NAME, COLUMN_NAME, COALESCE(NULLABLE, '') = 'YES', SUB_PART IS NOT NULL
		FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0
		ORDER BY INDEX_NAME, SEQ_IN_INDEX`, d.schema, d.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var index string
		var part uniquePart
		if err := rows.Scan(&index, &part.column, &part.nullable, &part.prefix); err != nil {
			return err
		}
		d.uniques[index] = append(d.uniques[index], part)
		if index == "PRIMARY" && !part.prefix {
			d.primary = append(d.primary, part.column)
		}
	}
	if len(d.primary) != len(d.uniques["PRIMARY"]) {
		d.primary = nil // a prefix does not identify a row
	}
	return rows.Err()
}

// readCascades finds what changes rows of the table without an event: InnoDB
// carries out a foreign key's actions below the binlog.
func (d *definition) readCascades(ctx context.Context, q querier) (err error) {
	d.cascades, err = queryStrings(ctx, q, `SELECT CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
		WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ?
		AND (DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') OR UPDATE_RULE NOT IN ('RESTRICT', 'NO ACTION'))`, d.schema, d.name)
	return err
}

// keyOf is the key that rows of d are known by: the configured one, which must
// be a unique key of columns that are never null, or the primary key.
func (d *definition) keyOf(cfg Table) ([]string, error) {
	if len(cfg.Key) > 0 {
		for _, parts := range d.uniques {
			ok := len(parts) == len(cfg.Key)
			for _, part := range parts {
				ok = ok && !part.nullable && !part.prefix && slices.Contains(cfg.Key, part.column)
			}
			if ok {
				return cfg.Key, nil
			}
		}
		return nil, d.halt(fmt.Errorf("no unique key of NOT NULL columns holds exactly %s", strings.Join(cfg.Key, ", ")),
			fmt.Sprintf("ALTER TABLE %s ADD UNIQUE KEY (%s), with NOT NULL columns, or configure another key", quoteTable(d.schema, d.name), quoteNames(cfg.Key)))
	}
	if len(d.primary) == 0 && !cfg.AppendOnly {
		return nil, d.halt(errors.New("it has no primary key"),
			fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…), or name a unique key of NOT NULL columns in the configuration, or set append_only if rows are only ever inserted", quoteTable(d.schema, d.name)))
	}
	return d.primary, nil
}

func (d *definition) cascadeError() error {
	return d.halt(fmt.Errorf("foreign key %s changes its rows by ON DELETE or ON UPDATE, which the binlog does not carry", d.cascades[0]),
		fmt.Sprintf("ALTER TABLE %s DROP FOREIGN KEY %s, then ADD it with RESTRICT, or set ignore_cascades if its parent's keys are never deleted or changed",
			quoteTable(d.schema, d.name), quoteName(d.cascades[0])))
}

// forms says which columns the binlog writes as another type.
func (d *definition) forms() map[string]form {
	out := map[string]form{}
	for _, col := range d.columns {
		switch col.form {
		case formJSON, formUUID, formInet:
			out[col.name] = col.form
		}
	}
	return out
}

func queryStrings(ctx context.Context, q querier, query string, args ...any) ([]string, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func quoteTable(schema, name string) string { return quoteName(schema) + "." + quoteName(name) }

func quoteNames(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quoteName(name)
	}
	return strings.Join(quoted, ", ")
}
