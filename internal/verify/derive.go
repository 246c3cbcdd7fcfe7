package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/internal/page"
)

// Calendar is the span of time whose windows a table has. Both are civil times
// of the table's time zone, written as UTC.
type Calendar struct {
	Begin time.Time // lies in the first window
	End   time.Time // is the end of the last, or lies in it
}

// EventTimes are the columns by which tables are cut when a spec does not say.
type EventTimes map[string]string

// Derive computes a table from what the replica holds of its inputs, each
// window alone, and keeps it there under its name. The inputs must be there,
// derived ones too. It returns the table's rows.
func Derive(ctx context.Context, r *Replica, s *Spec, times EventTimes, c Calendar) (*page.Table, error) {
	tables, err := r.reads(ctx, s.Query)
	if err != nil {
		return nil, fmt.Errorf("compute %s: %w", s.Name, err)
	}
	for _, table := range tables {
		if err := r.show(ctx, table, ""); err != nil {
			return nil, err
		}
	}
	if s.Window == nil {
		return r.deriveWhole(ctx, s)
	}
	return r.deriveWindows(ctx, s, tables, times, c)
}

func (r *Replica) deriveWhole(ctx context.Context, s *Spec) (*page.Table, error) {
	if s.Keys {
		if err := r.showDirty(ctx, s); err != nil {
			return nil, err
		}
	}
	if err := r.exec(ctx, "CREATE OR REPLACE TABLE "+r.table(s.Name)+" AS\n"+s.Query); err != nil {
		return nil, err
	}
	return r.result(ctx, s.Name)
}

// showDirty makes every key dirty.
func (r *Replica) showDirty(ctx context.Context, s *Spec) error {
	owning := make([]string, len(s.UniqueKey))
	for i, name := range s.UniqueKey {
		owning[i] = ident(name)
	}
	for _, entries := range s.Inputs {
		for _, in := range entries {
			if len(in.Key) > 0 {
				owning = owning[:len(in.Key)]
			}
		}
	}
	var parts []string
	for _, table := range slices.Sorted(maps.Keys(s.Inputs)) {
		for _, in := range s.Inputs[table] {
			if in.Dirty != "" { // as if every row had changed
				parts = append(parts, fmt.Sprintf("SELECT * FROM (WITH changes AS (SELECT * FROM %s) SELECT * FROM (\n%s\n)) AS q(%s) WHERE COLUMNS(*) IS NOT NULL",
					r.table(table), in.Dirty, strings.Join(owning, ", ")))
			}
			if len(in.Key) == 0 {
				continue
			}
			var names, known []string
			for i, name := range in.Key {
				names = append(names, ident(name)+" AS "+ident(s.UniqueKey[i]))
				known = append(known, ident(name)+" IS NOT NULL")
			}
			parts = append(parts, "SELECT "+strings.Join(names, ", ")+" FROM "+r.table(table)+" WHERE "+strings.Join(known, " AND "))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return r.exec(ctx, "CREATE OR REPLACE VIEW dirty AS "+strings.Join(parts, " UNION "))
}

func (r *Replica) deriveWindows(ctx context.Context, s *Spec, tables []string, times EventTimes, c Calendar) (*page.Table, error) {
	spans, err := r.spans(ctx, s, tables, times)
	if err != nil {
		return nil, fmt.Errorf("compute %s: %w", s.Name, err)
	}
	w := s.Window
	first := w.start(c.Begin)
	kind, err := r.windowType(ctx, s, first)
	if err != nil {
		return nil, fmt.Errorf("compute %s: %w", s.Name, err)
	}
	create := "CREATE OR REPLACE TABLE " + r.table(s.Name) + " AS\n"
	for start := first; start.Before(c.End); start = w.next(start) {
		end := w.next(start)
		for _, span := range spans {
			if err := r.show(ctx, span.table, span.condition(w, start, end)); err != nil {
				return nil, err
			}
		}
		query := withParameters(s.Query, map[string]string{
			"window_start": w.literal(kind, start), "window_end": w.literal(kind, end),
		})
		if err := r.exec(ctx, create+query); err != nil {
			return nil, err
		}
		create = "INSERT INTO " + r.table(s.Name) + "\n"
	}
	for _, span := range spans {
		if err := r.show(ctx, span.table, ""); err != nil {
			return nil, err
		}
	}
	return r.result(ctx, s.Name)
}

func (r *Replica) result(ctx context.Context, table string) (*page.Table, error) {
	if err := r.show(ctx, table, ""); err != nil {
		return nil, err
	}
	return r.Query(ctx, "SELECT * FROM "+quoted(table))
}

// reads are the tables of the replica that the query names. A name in a string
// or a comment may be among them, which does no harm.
func (r *Replica) reads(ctx context.Context, query string) ([]string, error) {
	known, err := r.Query(ctx, "SELECT table_name FROM duckdb_tables() WHERE schema_name = "+literal(copies)+" ORDER BY ALL")
	if err != nil {
		return nil, err
	}
	plain := strings.ToLower(strings.NewReplacer(`"`, "", " ", "").Replace(query))
	var out []string
	for _, row := range known.Rows {
		if strings.Contains(plain, strings.ToLower(*row[0])) {
			out = append(out, *row[0])
		}
	}
	return out, nil
}

// span is the part of an input that a window's query sees.
type span struct {
	table, column, kind string
	input               Input
}

func (r *Replica) spans(ctx context.Context, s *Spec, tables []string, times EventTimes) ([]span, error) {
	var out []span
	for _, table := range tables {
		entries := s.Inputs[table]
		if !bounded(entries) {
			continue
		}
		if len(entries) == 0 {
			entries = []Input{{}}
		}
		shape, err := r.Query(ctx, "SELECT * FROM "+r.table(table)+" LIMIT 0")
		if err != nil {
			return nil, err
		}
		in := entries[0]
		if in.EventTime == "" {
			in.EventTime = times[table]
		}
		i := slices.Index(shape.Columns, in.EventTime)
		if i < 0 {
			return nil, fmt.Errorf("%s has no column %q", table, in.EventTime)
		}
		out = append(out, span{table, in.EventTime, shape.Types[i], in})
	}
	return out, nil
}

func (s span) condition(w *Window, start, end time.Time) string {
	column := ident(s.column)
	return fmt.Sprintf("%s >= %s AND %s < %s", column, w.literal(s.kind, s.input.back(start)), column, w.literal(s.kind, end))
}

// literal is a civil time of the window's zone in a type of DuckDB.
func (w *Window) literal(kind string, t time.Time) string {
	switch kind {
	case "DATE":
		return "DATE '" + t.Format(time.DateOnly) + "'"
	case "TIMESTAMP":
		return "TIMESTAMP '" + t.Format("2006-01-02 15:04:05") + "'"
	}
	instant := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, w.Timezone)
	return "TIMESTAMPTZ '" + instant.UTC().Format("2006-01-02 15:04:05") + "+00'"
}

// windowType is the type of the result's window column, which the parameters
// share.
func (r *Replica) windowType(ctx context.Context, s *Spec, at time.Time) (string, error) {
	kind := "DATE"
	if s.Window.Size == "hour" {
		kind = "TIMESTAMP WITH TIME ZONE"
	}
	for range 2 {
		text := s.Window.literal(kind, at)
		shape, err := r.Query(ctx, "SELECT * FROM ("+withParameters(s.Query, map[string]string{"window_start": text, "window_end": text})+"\n) LIMIT 0")
		if err != nil {
			return "", err
		}
		i := slices.IndexFunc(shape.Types, func(t string) bool { return t == "DATE" || strings.HasPrefix(t, "TIMESTAMP") })
		if s.Window.Column != "" {
			i = slices.Index(shape.Columns, s.Window.Column)
		}
		if i < 0 {
			return "", fmt.Errorf("the query has no window column")
		}
		if shape.Types[i] == kind {
			break
		}
		kind = shape.Types[i]
	}
	return kind, nil
}

// withParameters puts values in the place of @name, outside strings, quoted
// names and comments.
func withParameters(query string, values map[string]string) string {
	var b strings.Builder
	for i := 0; i < len(query); {
		rest := query[i:]
		n := 1
		switch {
		case strings.HasPrefix(rest, "--"):
			n = lengthTo(rest, 2, "\n")
		case strings.HasPrefix(rest, "/*"):
			n = lengthTo(rest, 2, "*/")
		case rest[0] == '\'' || rest[0] == '"' || rest[0] == '`':
			n = lengthTo(rest, 1, rest[:1])
		case rest[0] == '@':
			n = 1 + len(rest[1:]) - len(strings.TrimLeft(rest[1:], "abcdefghijklmnopqrstuvwxyz_"))
			if value, ok := values[rest[1:n]]; ok {
				b.WriteString(value)
				i += n
				continue
			}
		}
		b.WriteString(rest[:n])
		i += n
	}
	return b.String()
}

// lengthTo is the length of text up to and with the end mark, searched from a
// place on.
func lengthTo(text string, from int, end string) int {
	if i := strings.Index(text[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(text)
}

// CompareDerived computes a derived table from what the replica holds, and
// compares.
func CompareDerived(ctx context.Context, p Platform, r *Replica, s *Spec, times EventTimes, c Calendar) (Report, error) {
	want, err := Derive(ctx, r, s, times, c)
	if err != nil {
		return Report{}, err
	}
	on := of(p)
	got, err := on.rows(ctx, s.Name)
	if err != nil {
		return Report{}, fmt.Errorf("read %s: %w", s.Name, err)
	}
	if s.Append {
		got = without(got, loadColumn)
	}
	return on.compare(s.Name, want, got, s.UniqueKey), nil
}
