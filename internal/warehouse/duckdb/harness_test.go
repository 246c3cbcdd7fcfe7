package duckdb

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/internal/fault"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/internal/warehouse/warehousetest"
	"millrace/schemas"
)

func TestConformance(t *testing.T) {
	warehousetest.Run(t, func(t *testing.T) *warehousetest.Harness {
		t.Parallel()
		return newFile(t).harness()
	})
}

func TestRunnerConformance(t *testing.T) {
	dialect, err := OpenDialect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dialect.Close(); err != nil {
			t.Error(err)
		}
	})
	warehousetest.RunRunner(t, func(t *testing.T) *warehousetest.RunnerHarness {
		t.Parallel()
		f := newFile(t)
		return &warehousetest.RunnerHarness{
			Harness: f.harness(), Runner: func() warehouse.Runner { return f.w.Runner() }, Spelling: dialect, SQLType: SQLType, Drop: f.drop,
			RunPoints:    []string{PointRunBegin, PointRunStaged, PointRunHead, PointRunPublished, PointRunLogged, PointRunCommitted},
			RunCommitted: PointRunCommitted,
			Nested: warehousetest.Nested{
				List:   func(element string) string { return element + "[]" },
				Struct: func(fields ...[2]string) string { return "STRUCT(" + warehousetest.Fields("%[1]s %[2]s", fields) + ")" },
				Value:  func(fields ...[2]string) string { return "{" + warehousetest.Fields("'%[1]s': %[2]s", fields) + "}" },
				JSON:   func(expr string) string { return "CAST(to_json(" + expr + ") AS VARCHAR)" },
			},
		}
	})
}

func (f *file) drop(t *testing.T, table string) {
	t.Helper()
	if _, err := f.w.db.ExecContext(t.Context(), "DROP TABLE "+table); err != nil {
		t.Fatal(err)
	}
}

func (f *file) harness() *warehousetest.Harness {
	points, committed := LoadPoints()
	return &warehousetest.Harness{
		Loader: func() warehouse.Loader { return f.w }, Crash: f.crash,
		Faults: &f.faults, Points: points, Committed: committed,
		Succession: []string{PointSucceedBegin, PointDefineCommit, PointSucceedCommitted},
		Rows:       f.rows, View: f.view, Images: f.images,
	}
}

// file is a warehouse that can be lost and found.
type file struct {
	w      *Warehouse
	faults fault.Plan
}

func newFile(t *testing.T) *file {
	f := &file{}
	f.open(t, filepath.Join(t.TempDir(), FileName))
	t.Cleanup(func() {
		if err := f.w.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *file) open(t *testing.T, path string) {
	t.Helper()
	w, err := Open(t.Context(), path, Options{Threads: 2, MemoryLimit: "1GB", Fault: f.faults.Hook})
	if err != nil {
		t.Fatal(err)
	}
	f.w = w
}

// crash leaves the open file behind and goes on with a copy of its bytes: that
// is what the death of the process leaves.
func (f *file) crash(t *testing.T) {
	t.Helper()
	left := f.w
	path := filepath.Join(t.TempDir(), FileName)
	for _, suffix := range []string{"", ".wal"} {
		if err := copyFile(path+suffix, left.path+suffix); err != nil && (suffix == "" || !os.IsNotExist(err)) {
			t.Fatal(err)
		}
	}
	f.open(t, path)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

func (f *file) rows(t *testing.T, table warehouse.CoreTable) (out []warehousetest.Stored) {
	n := f.name(t, table)
	if err := f.w.db.QueryRowContext(t.Context(), "SELECT generation FROM "+f.w.dialect.Head(n)).Scan(&n.Generation); err != nil {
		t.Fatal(err)
	}
	meta := "_pos, _born, _deleted, '', _unset, _load"
	if table.Mode == schemas.ModeAppend {
		meta = "_pos, '', FALSE, _op, _unset, _load"
	}
	f.read(t, "SELECT "+meta+", "+f.selectList(table.Columns)+" FROM "+f.w.dialect.Base(n), table.Columns, func(scan func(...any) schemas.Row) {
		var s warehousetest.Stored
		var pos, born, unset string
		s.V = scan(&pos, &born, &s.Deleted, &s.Op, &unset, &s.Load)
		s.Unset = sqlgen.ParseUnset(unset)
		if err := errors.Join(s.Pos.UnmarshalText([]byte(pos)), s.Born.UnmarshalText([]byte(born))); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	})
	return out
}

func (f *file) view(t *testing.T, table warehouse.CoreTable) (out []schemas.Row) {
	f.read(t, "SELECT "+f.selectList(table.Columns)+" FROM "+f.w.dialect.View(f.name(t, table)), table.Columns,
		func(scan func(...any) schemas.Row) { out = append(out, scan()) })
	return out
}

func (f *file) images(t *testing.T, table warehouse.CoreTable, names []string) (out []warehousetest.Image) {
	var columns []schemas.Column
	for _, name := range names {
		columns = append(columns, table.Columns[slices.IndexFunc(table.Columns, func(c schemas.Column) bool { return c.Name == name })])
	}
	query := "SELECT _load, _image = 'new', " + f.selectList(columns) + " FROM " + f.w.dialect.Changes(f.name(t, table)) + " ORDER BY _load, _image DESC"
	f.read(t, query, columns, func(scan func(...any) schemas.Row) {
		var i warehousetest.Image
		i.V = scan(&i.Load, &i.New)
		out = append(out, i)
	})
	return out
}

func (f *file) name(t *testing.T, table warehouse.CoreTable) sqlgen.Name {
	t.Helper()
	n, err := f.w.dialect.ParseName(table.Name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// selectList gives every value in a form that holds all of it.
func (f *file) selectList(columns []schemas.Column) string {
	var out []string
	for _, c := range columns {
		id := f.w.dialect.Ident(c.Name)
		switch c.Type.Kind {
		case schemas.Bool:
			id = "CAST(" + id + " AS BIGINT)"
		case schemas.Decimal, schemas.JSON:
			id = "CAST(" + id + " AS VARCHAR)"
		case schemas.Date:
			id = "CAST(" + id + " - DATE '1970-01-01' AS BIGINT)"
		case schemas.Time, schemas.Timestamp, schemas.DateTime:
			id = "epoch_us(" + id + ")"
		}
		out = append(out, id)
	}
	return strings.Join(out, ", ")
}

func (f *file) read(t *testing.T, query string, columns []schemas.Column, row func(scan func(...any) schemas.Row)) {
	t.Helper()
	rows, err := f.w.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		row(func(dest ...any) schemas.Row {
			values := make([]any, len(columns))
			for i := range values {
				dest = append(dest, &values[i])
			}
			if err := rows.Scan(dest...); err != nil {
				t.Fatal(err)
			}
			return cells(t, columns, values)
		})
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

func cells(t *testing.T, columns []schemas.Column, values []any) schemas.Row {
	t.Helper()
	out := make(schemas.Row, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case nil:
			out[i] = schemas.NullCell()
		case int64:
			out[i] = schemas.IntCell(v)
		case float64:
			out[i] = schemas.FloatCell(v)
		case []byte:
			out[i] = schemas.BytesCell(v)
		case string:
			out[i] = schemas.BytesCell([]byte(v))
			if columns[i].Type.Kind == schemas.Decimal {
				b, err := schemas.AppendDecimal(nil, []byte(v), columns[i].Type)
				if err != nil {
					t.Fatal(err)
				}
				out[i] = schemas.BytesCell(b)
			}
		default:
			t.Fatalf("value %T", v)
		}
	}
	return out
}
