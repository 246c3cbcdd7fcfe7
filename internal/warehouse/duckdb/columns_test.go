package duckdb

import (
	"database/sql"
	"path/filepath"
	"slices"
	"testing"
)

// A table that is not there has no columns, whatever it is called, and to ask for
// it inside a transaction leaves that as it is.
func TestColumnsOf(t *testing.T) {
	w, err := Open(t.Context(), filepath.Join(t.TempDir(), FileName), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }() // the file goes with its folder
	conn, err := w.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exec := func(statement string) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	const odd = `O'n "é".x`
	exec(`CREATE SCHEMA s; CREATE TABLE s."` + `O'n ""é"".x` + `" ("a b" DECIMAL(5, 2), c TIMESTAMPTZ); CREATE VIEW s.v AS SELECT 1 AS one`)
	exec("BEGIN")
	for _, missing := range [][2]string{{"s", "none"}, {"none", "t"}, {"s", `"`}, {"s", "a.b'c"}} {
		if names, _, err := columnsOf(t.Context(), conn, missing[0], missing[1]); err != nil || names != nil {
			t.Errorf("%q: %v, %v", missing, names, err)
		}
	}
	exec("INSERT INTO s.\"O'n \"\"é\"\".x\" VALUES (1, now())")
	names, types, err := columnsOf(t.Context(), conn, "S", odd)
	if err != nil || !slices.Equal(names, []string{"a b", "c"}) || !slices.Equal(types, []string{"DECIMAL(5,2)", "TIMESTAMP WITH TIME ZONE"}) {
		t.Errorf("%v, %v, %v", names, types, err)
	}
	if names, _, err := columnsOf(t.Context(), conn, "s", "v"); err != nil || !slices.Equal(names, []string{"one"}) {
		t.Errorf("a view: %v, %v", names, err)
	}
	exec("COMMIT")
	var n sql.NullInt64
	if err := conn.QueryRowContext(t.Context(), `SELECT count(*) FROM s."O'n ""é"".x"`).Scan(&n); err != nil || n.Int64 != 1 {
		t.Errorf("%d rows, %v", n.Int64, err)
	}
}
