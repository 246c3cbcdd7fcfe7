package bigquery

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// A row is the same wherever its buffer ends, and those before it stay as they
// were.
func TestRowsGoOnInOtherBuffers(t *testing.T) {
	slow(t)
	c, table := fixture(schemas.ModeMerge)
	rows := func() *listed {
		l := &listed{}
		for i := range uint64(50) {
			op := []schemas.Op{schemas.Create, schemas.Update, schemas.Delete}[i%3]
			l.folds = append(l.folds, warehouse.Folded{Op: op, Pos: at(i + 1), Born: at(i / 2)})
			l.write = append(l.write, func(s warehouse.Sink) {
				s.Bytes(1, []byte(strings.Repeat("né", int(i)))) //nolint:gosec // small
				everyValue(keyless{s})
				s.Int(0, int64(i)) //nolint:gosec // small; the key comes last
			})
		}
		return l
	}
	all := func(more func(int) []byte) (out [][]byte) {
		e, _, err := newEncoder(c, table, "b1", 1)
		if err != nil {
			t.Fatal(err)
		}
		e.sink.more = more
		for from := rows(); ; {
			row, err := e.next(from)
			if errors.Is(err, io.EOF) {
				return out
			}
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, row)
		}
	}
	want := all(func(n int) []byte { return make([]byte, 0, max(n, 1<<20)) })
	for size := range 1000 { // at each place of a row a buffer ends in some of them
		for i, row := range all(func(n int) []byte { return make([]byte, 0, max(n, size)) }) {
			if !bytes.Equal(row, want[i]) {
				t.Fatalf("buffers of %d bytes: row %d is\n%q, want\n%q", size, i, row, want[i])
			}
		}
	}
}

// keyless leaves out what was or will be written otherwise.
type keyless struct{ warehouse.Sink }

func (s keyless) Int(col int, v int64) {
	if col != 0 {
		s.Sink.Int(col, v)
	}
}

func (s keyless) Bytes(col int, b []byte) {
	if col != 1 {
		s.Sink.Bytes(col, b)
	}
}

// The memory of a request serves the next one only when its reply is there, and
// a row that is larger than a buffer has its own.
func TestMemoryOfRequestsIsUsedAgain(t *testing.T) {
	s, w := newService(t)
	tab, b := owner(t, w)
	w.opts.RequestBytes = 3 * bufferSize
	const n = 40
	rows := &listed{}
	for i := range n {
		size := bufferSize / 5
		if i%10 == 9 {
			size = 2 * bufferSize
		}
		rows.folds = append(rows.folds, warehouse.Folded{Op: schemas.Create, Pos: at(uint64(i) + 1)}) //nolint:gosec // small
		rows.write = append(rows.write, func(s warehouse.Sink) {
			s.Int(0, int64(i))
			s.Bytes(1, bytes.Repeat([]byte{byte('A' + i)}, size))
		})
	}
	b.Rows = rows
	core, _, err := tab.def.Core(w.dialect, tab.name, b.Table)
	if err != nil {
		t.Fatal(err)
	}
	_, desc, err := newEncoder(core, b.Table, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		before := len(s.requests)
		if got, err := w.stage(t.Context(), tab, core, b); err != nil || got.rows != n {
			t.Fatalf("%+v %v", got, err)
		}
		if sent := len(s.requests) - before; sent < 4 {
			t.Errorf("%d requests", sent)
		}
	}
	for _, taken := range s.rows {
		if len(taken) != 3*n {
			t.Errorf("%d rows", len(taken))
		}
		for i, row := range taken {
			m := decoded(t, desc, row)
			if text := m["v1"]; strings.Trim(text, string(rune('A'+i%n))) != "" || len(text) < bufferSize/5 {
				t.Fatalf("row %d has other text: %.20q", i, text)
			}
		}
	}
}
