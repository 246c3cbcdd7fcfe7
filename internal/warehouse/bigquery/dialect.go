package bigquery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/api/googleapi"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqltoken"
	"millrace/schemas"
)

// Dialect reads queries as BigQuery does: what they refer to by their tokens, and
// what they give by a dry run, which costs nothing and reads no table.
type Dialect struct {
	Spelling
	w     *Warehouse
	owned bool // w is closed with it
}

var _ warehouse.Dialect = (*Dialect)(nil)

// Dialect returns the reader of queries.
func (w *Warehouse) Dialect() *Dialect { return &Dialect{Spelling: NewSpelling(), w: w} }

// OpenDialect opens one that has clients of its own.
func OpenDialect(ctx context.Context, opts Options) (*Dialect, error) {
	w, err := Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &Dialect{Spelling: NewSpelling(), w: w, owned: true}, nil
}

// Close closes the clients that are its own.
func (d *Dialect) Close() error {
	if d.owned {
		return d.w.Close()
	}
	return nil
}

// Parse is described at warehouse.Dialect. A text that it can read may still not
// be valid: Columns finds that.
func (d *Dialect) Parse(_ context.Context, query string) (warehouse.Parsed, error) {
	parsed, _, err := parse(query)
	return parsed, err
}

// Columns is described at warehouse.Dialect. The relations stand in the text as
// empty ones of their columns, so that they need not exist; a table that is still
// read was not seen by Parse, and is refused.
func (d *Dialect) Columns(ctx context.Context, query string, over []warehouse.Relation) ([]warehouse.ResultColumn, error) {
	text, err := d.emptied(query, over)
	if err != nil {
		return nil, err
	}
	stats, err := d.w.dryRun(ctx, task{what: "describe", table: "none", text: func(string) string { return text }})
	switch {
	case isTooLong(err):
		return nil, &warehouse.QueryError{Offset: -1, Message: err.Error()}
	case (isStatus(err, http.StatusBadRequest) || isStatus(err, http.StatusNotImplemented)) && classOf(err) == fatal: // stand-ins do not know all of SQL
		return nil, refusedQuery(query, err)
	case err != nil:
		return nil, fmt.Errorf("describe query: %w", passing(cure(err)))
	}
	for _, t := range stats.ReferencedTables {
		return nil, &warehouse.QueryError{Offset: -1, Message: fmt.Sprintf("%s.%s is read where no table is looked for: write it behind FROM or JOIN", t.DatasetId, t.TableId)}
	}
	out := make([]warehouse.ResultColumn, len(stats.Schema.Fields))
	for i, f := range stats.Schema.Fields {
		out[i] = warehouse.ResultColumn{Name: f.Name, SQLType: typeName(f)}
		if t, ok := d.dialect.ParseType(out[i].SQLType); ok && f.Mode != "REPEATED" {
			out[i].Type = t
		}
	}
	return out, nil
}

// emptied is the query with an empty relation in place of each table. No line is
// moved.
func (d *Dialect) emptied(query string, over []warehouse.Relation) (string, error) {
	parsed, ends, err := parse(query)
	if err != nil {
		return "", err
	}
	slices.SortFunc(parsed.Tables, func(a, b warehouse.TableRef) int { return a.Offset - b.Offset })
	var b strings.Builder
	at := 0
	for _, t := range parsed.Tables {
		name := t.Dataset + "." + t.Table
		i := slices.IndexFunc(over, func(r warehouse.Relation) bool { return strings.EqualFold(r.Name, name) })
		if i < 0 {
			return "", &warehouse.QueryError{Offset: t.Offset, Message: "there is no table " + name}
		}
		b.WriteString(query[at:t.Offset])
		b.WriteString(d.empty(over[i].Columns))
		if t.Alias == "" {
			b.WriteString(" AS " + d.Ident(t.Table))
		}
		at = ends[t.Offset]
	}
	return b.String() + query[at:], nil
}

// empty is a relation of the columns without rows.
func (d *Dialect) empty(columns []warehouse.ResultColumn) string {
	fields := make([]string, len(columns))
	for i, c := range columns {
		fields[i] = "CAST(NULL AS " + c.SQLType + ") AS " + d.Ident(c.Name)
	}
	return "(SELECT " + strings.Join(fields, ", ") + " LIMIT 0)"
}

var messagePlace = regexp.MustCompile(` at \[(\d+):\d+\]$`)

// refusedQuery is what the service says against the text, at the line of the query
// that it names.
func refusedQuery(query string, err error) error {
	var call *googleapi.Error
	message := err.Error()
	if errors.As(err, &call) {
		message = call.Message
	}
	out := &warehouse.QueryError{Offset: -1, Message: messagePlace.ReplaceAllString(message, "")}
	if m := messagePlace.FindStringSubmatch(message); m != nil {
		var line int
		_, _ = fmt.Sscan(m[1], &line)
		at := 0
		for ; line > 1; line-- {
			next := strings.IndexByte(query[at:], '\n')
			if next < 0 {
				return out
			}
			at += next + 1
		}
		out.Offset = at
	}
	return out
}

// CoreColumns are the columns of a core table as a query sees them.
func (d *Dialect) CoreColumns(mode schemas.Mode, columns []schemas.Column) []warehouse.ResultColumn {
	return coretable.Columns(d.dialect, mode, columns)
}

// Tokens is described at warehouse.Spelling.
func (s Spelling) Tokens(sql string) []sqltoken.Token { return sqltoken.Google(sql) }

// Type is described at warehouse.Spelling.
func (s Spelling) Type(t schemas.Type) string { return s.dialect.Type(t) }
