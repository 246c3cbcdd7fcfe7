package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"millrace/internal/invalid"
	"millrace/producers"
)

// halt is a table's fault that a person must cure.
func halt(table, cure, format string, args ...any) *producers.HaltError {
	return &producers.HaltError{Table: table, Err: fmt.Errorf(format, args...), Hint: cure}
}

// check refuses a table that cannot be captured, and says which statement
// cures it. It returns the key's columns in key order; a table without a key
// has none.
//
// The key's columns must be in the log with every change: without them a
// delete or an update says nothing about its row. A deferrable key lets one
// statement pass rows through each other's keys, so that the order of the log
// is not the order of the rows.
func (t *catalogTable) check(c TableConfig) ([]string, error) {
	id, sql := c.Name, quoteName(t.Schema, t.Name)
	switch {
	case t.Kind != "r" && t.Kind != "p":
		return nil, halt(id, "name the tables that it reads instead", "it is no table but %s", relkinds[t.Kind])
	case t.Persistence != "p":
		return nil, halt(id, "ALTER TABLE "+sql+" SET LOGGED", "it is unlogged: its changes are not in the log")
	case !t.Readable:
		return nil, halt(id, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %s", quote(t.Schema), quote(t.Role), sql, quote(t.Role)),
			"the role %s may not read it", t.Role)
	}
	for _, name := range c.Text {
		if t.column(name) == nil {
			cure := "correct the name under text"
			if near := invalid.Nearest(name, t.columnNames()); near != "" {
				cure += "; did you mean " + near + "?"
			}
			return nil, halt(id, cure, "column %q under text does not exist", name)
		}
	}
	ix := t.keyIndex(c.Key)
	if ix == nil {
		return t.checkWithoutKey(c, sql)
	}
	identity, full := t.identityColumns()
	if !ix.Immediate {
		cure := fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s, ADD UNIQUE (%s)", sql, quote(ix.Constraint), quoteAll(ix.Columns))
		if ix.Primary {
			cure = fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s, ADD PRIMARY KEY (%s)", sql, quote(ix.Constraint), quoteAll(ix.Columns))
		}
		return nil, halt(id, cure, "its key (%s) is deferrable: one statement may pass rows through each other's keys", strings.Join(ix.Columns, ", "))
	}
	for _, name := range ix.Columns {
		switch col := t.column(name); {
		case col == nil:
			return nil, halt(id, "choose a key without it", "key column %q is generated: the log does not carry it", name)
		case !col.NotNull:
			return nil, halt(id, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL", sql, quote(name)),
				"key column %q may be null: null is not unique", name)
		case !full && !slices.Contains(identity, name):
			cure := fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s (or FULL)", sql, quote(ix.Name))
			if ix.Primary {
				cure = fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY DEFAULT (or FULL)", sql)
			}
			return nil, halt(id, cure, "key column %q is not in the replica identity: the log would not carry it", name)
		}
	}
	return ix.Columns, nil
}

func (t *catalogTable) checkWithoutKey(c TableConfig, sql string) ([]string, error) {
	if len(c.Key) > 0 {
		return nil, halt(c.Name, fmt.Sprintf("CREATE UNIQUE INDEX ON %s (%s)", sql, quoteAll(c.Key)),
			"the configured key (%s) has no unique index", strings.Join(c.Key, ", "))
	}
	if t.Identity != "f" {
		return nil, halt(c.Name, fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…); or, to capture it as append-only, ALTER TABLE %s REPLICA IDENTITY FULL", sql, sql),
			"it has no primary key: to publish it would make its updates fail")
	}
	return nil, nil
}

var errMissing = errors.New("it does not exist")

func missing(c TableConfig) *producers.HaltError {
	return &producers.HaltError{Table: c.Name, Err: errMissing, Hint: "create it, or take it out of the configuration"}
}

var relkinds = map[string]string{
	"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence",
	"c": "a composite type", "t": "a TOAST table", "i": "an index", "I": "an index",
}

// quote writes an identifier.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteName(schema, name string) string { return quote(schema) + "." + quote(name) }

func quoteAll(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = quote(n)
	}
	return strings.Join(out, ", ")
}

// quoteText writes a string literal; standard_conforming_strings is on.
func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
