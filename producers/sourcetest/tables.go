package sourcetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"millrace/schemas"
)

// testTypes: one value gives the same bytes whether the snapshot reads it or
// the log carries it, in an insert, an update or a delete (G3).
func testTypes(t *testing.T, h *Harness) {
	makeItems(t, h)
	columns, longest := []string{"id BIGINT PRIMARY KEY"}, 1
	for i, c := range h.Types {
		columns = append(columns, fmt.Sprintf("c%d %s", i, c.SQL))
		longest = max(longest, len(c.Values))
	}
	h.Exec(t, "CREATE TABLE types ("+strings.Join(columns, ", ")+")")
	row := func(id int, value func(TypeCase) string) string {
		values := []string{fmt.Sprint(id)}
		for _, c := range h.Types {
			values = append(values, value(c))
		}
		return "INSERT INTO types VALUES (" + strings.Join(values, ", ") + ")"
	}
	nth := func(n int) func(TypeCase) string {
		return func(c TypeCase) string {
			if n < len(c.Values) {
				return c.Values[n]
			}
			return "NULL"
		}
	}
	r := newReader(t, h, "types")
	r.ready(t)
	for n := range longest + 1 { // the last row is null throughout
		h.Exec(t, row(n, nth(n)))
	}
	r.sync(t)
	table := r.table(t, "types")
	if len(table.Columns) != len(h.Types)+1 {
		t.Fatalf("%d columns of %d were captured", len(table.Columns), len(h.Types)+1)
	}
	streamed := r.changes("types")
	rows, _ := r.chunk(t, table, nil, longest+1)
	if len(streamed) != longest+1 || len(rows) != longest+1 {
		t.Fatalf("%d rows in the stream and %d in the snapshot, of %d", len(streamed), len(rows), longest+1)
	}
	for n := range rows {
		for i, c := range h.Types {
			column, stream, snapshot := table.Columns[i+1], streamed[n].After[i+1], rows[n].After[i+1]
			what := fmt.Sprintf("%s %s", c.SQL, nth(n)(c))
			if c.Type != (schemas.Type{}) && column.Type != c.Type {
				t.Errorf("%s was captured as %v, want %v", c.SQL, column.Type, c.Type)
			}
			if !sameCell(stream, snapshot) {
				t.Errorf("%s: the stream has %v, the snapshot %v", what, stream, snapshot)
			}
			if n < len(c.Want) && !sameCell(stream, c.Want[n]) {
				t.Errorf("%s: got %v, want %v", what, stream, c.Want[n])
			}
			if null := nth(n)(c) == "NULL"; null != (stream.Kind == schemas.Null) {
				t.Errorf("%s: the cell is %v", what, stream)
			}
			if stream.Kind == schemas.Present && (column.Type.Kind.InBytes() != (stream.Bytes != nil) || column.Type.Kind.InBytes() && stream.Int != 0) {
				t.Errorf("%s: a cell of %v is %v", what, column.Type, stream)
			}
		}
	}
	h.Exec(t, "UPDATE types SET id = id + 1000")
	r.sync(t)
	for _, c := range r.changes("types")[longest+1:] {
		if c.Op == schemas.Create {
			want := rows[c.After[0].Int-1000].After
			for i := range h.Types {
				if got := c.After[i+1]; got.Kind != schemas.Unset && !sameCell(got, want[i+1]) {
					t.Errorf("%s after a change of the key: %v, want %v", h.Types[i].SQL, got, want[i+1])
				}
			}
		}
	}
}

func testAddNullable(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.Exec(t, "INSERT INTO items VALUES (1, 'a', 1)", "ALTER TABLE items ADD COLUMN extra VARCHAR(20)", "INSERT INTO items VALUES (2, 'b', 2, 'new')")
	r.sync(t)
	if got, want := h.describe(r.changes()), "c 1|a|1.00\nc 2|b|2.00|new\n"; got != want {
		t.Fatalf("got:\n%swant:\n%s", got, want)
	}
	vs := r.versions(items)
	if len(vs) != 2 || !vs[1].Since.IsZero() || vs[1].Table.Column("extra") != 3 {
		t.Fatalf("%d versions; the last: %+v", len(vs), vs[len(vs)-1])
	}
	if c := r.changes(); c[0].Table != vs[0].Table || c[1].Table != vs[1].Table {
		t.Fatal("a change does not name the version that was announced before it")
	}
	// The new version is known at the next start.
	r.reopen(t, r.checkpoint(len(r.batches)-1))
	h.Exec(t, "INSERT INTO items VALUES (3, 'c', 3, NULL)")
	r.sync(t)
	if v := r.versions(items); len(v) > 0 {
		t.Fatalf("announced again: %+v", v[0])
	}
}

// rewritten checks that the change of the table after it was announced with a
// since, because rows may have changed without an event.
func (r *reader) rewritten(t *testing.T, before int) {
	t.Helper()
	vs := r.versions(items)
	if len(vs) != before+1 {
		t.Fatalf("%d versions were announced, want %d", len(vs), before+1)
	}
	v, changes := vs[before], r.changes()
	last := changes[len(changes)-1]
	if v.Since.IsZero() || last.Position.Less(v.Since) {
		t.Fatalf("since is %v, the first change behind it at %v", v.Since, last.Position)
	}
	if len(changes) > 1 && !changes[len(changes)-2].Position.Less(v.Since) {
		t.Fatalf("since is %v, not above the change before it at %v", v.Since, changes[len(changes)-2].Position)
	}
	rows, chunk := r.chunk(t, v.Table, nil, 100)
	if !v.Since.Less(chunk.ReadPoint) {
		t.Fatalf("the read point %v is not above since %v", chunk.ReadPoint, v.Since)
	}
	names := make([]string, len(v.Table.Columns))
	for i, c := range v.Table.Columns {
		names[i] = c.Name
	}
	diff(t, "the table read again", r.h.fold(t, v.Table, rows), r.h.Rows(t, items, names...))
}

func testAddDefault(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.Exec(t, "INSERT INTO items VALUES (1, 'a', 1)", "ALTER TABLE items ADD COLUMN grade BIGINT NOT NULL DEFAULT 7", "INSERT INTO items VALUES (2, 'b', 2, 8)")
	r.sync(t)
	r.rewritten(t, 1)
}

func testRename(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.Exec(t, "INSERT INTO items VALUES (1, 'a', 1)", "ALTER TABLE items RENAME COLUMN name TO title", "INSERT INTO items VALUES (2, 'b', 2)")
	r.sync(t)
	r.rewritten(t, 1)
	if v := r.versions(items); v[1].Table.Column("title") != 1 || v[1].Table.Column("name") != -1 {
		t.Fatalf("columns %v", v[1].Table.Columns)
	}
}

func testDDLWhileDown(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.Exec(t, "INSERT INTO items VALUES (1, 'a', 1)")
	r.sync(t)
	at := r.checkpoint(len(r.batches) - 1)
	r.close(t)
	h.Exec(t, "INSERT INTO items VALUES (2, 'b', 2)", "ALTER TABLE items ADD COLUMN grade BIGINT NOT NULL DEFAULT 7", "INSERT INTO items VALUES (3, 'c', 3, 8)")
	r.start = at
	r.open(t)
	r.sync(t)
	if got := r.changes(); len(got) != 2 || h.rowText(got[0].Table, got[0].After) != "2|b|2.00" || h.rowText(got[1].Table, got[1].After) != "3|c|3.00|8" {
		t.Fatalf("got:\n%s", h.describe(got))
	}
	r.rewritten(t, 0)
}

func testUnset(t *testing.T, h *Harness) {
	if !h.Unset {
		t.Skip("the log of this source carries every value")
	}
	makeItems(t, h)
	h.Exec(t, "CREATE TABLE big (id BIGINT PRIMARY KEY, small BIGINT, big "+h.BigType+")")
	rng := rand.New(rand.NewPCG(1, 2))
	var value strings.Builder
	for value.Len() < 100_000 {
		fmt.Fprintf(&value, "%x", rng.Uint64())
	}
	r := newReader(t, h, "big")
	r.ready(t)
	h.Exec(t, "INSERT INTO big VALUES (1, 1, '"+value.String()+"')", "UPDATE big SET small = 2", "UPDATE big SET id = 5", "UPDATE big SET big = 'short'")
	r.sync(t)
	var got []string
	for _, c := range r.changes("big") {
		s := strings.ReplaceAll(h.rowText(c.Table, c.After), value.String(), "BIG")
		if c.Op == schemas.Delete {
			s = keyText(c.Table, c.Before)
		}
		got = append(got, c.Op.String()+" "+s)
	}
	if s := strings.Join(got, ", "); s != "c 1|1|BIG, u 1|2|UNSET, d 1, c 5|2|UNSET, u 5|2|short" {
		t.Fatalf("got %s", s)
	}
	table := r.table(t, "big")
	if c := table.Columns[2]; !c.Unsettable {
		t.Errorf("column %s is not marked as one that a change may leave out", c.Name)
	}
	h.Exec(t, "UPDATE big SET big = '"+value.String()+"'")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := r.src.ReadKeys(ctx, table, [][]schemas.Cell{{schemas.IntCell(5)}}, func(cs []schemas.Change) error {
		if string(cs[0].After[2].Bytes) != value.String() {
			t.Errorf("the row that was read again lacks its value: %d bytes", len(cs[0].After[2].Bytes))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
