package batch

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

func TestDropTakesTheKeysLaterChangesAlong(t *testing.T) {
	w := textWorld(t)
	b := New(wide)
	w.add(b, 0, change(schemas.Create, 1, 1, "early"))
	w.add(b, 0, change(schemas.Update, 2, 1, "poison"))
	w.add(b, 0, change(schemas.Create, 3, 2, "other"))
	w.add(b, 0, change(schemas.Update, 4, 1, "behind"))
	dropped := b.Drop(0, 1, "why")
	if len(dropped) != 2 || dropped[0].Offset != 1 || dropped[1].Offset != 3 || len(dropped[1].Value) == 0 ||
		dropped[0].Reason != "why" || dropped[1].Reason != "" {
		t.Fatalf("dropped %+v", dropped)
	}
	b.Quarantine(0, 9)
	b.Saw(0, 9, time.Unix(100, 0))
	l := load(t, b, w.core(schemas.ModeMerge), nil)
	got := map[int64]string{}
	for _, s := range read(t, l.Rows, 2) {
		got[s.row[0].Int] = string(s.row[1].Bytes)
	}
	if want := map[int64]string{1: "early", 2: "other"}; !maps.Equal(got, want) {
		t.Errorf("staged %v, want %v", got, want)
	}
	if l.Counts.Read != 5 || l.Counts.Quarantined != 3 || l.Counts.Folded != 0 {
		t.Errorf("counts %+v", l.Counts)
	}
}

// refuses takes out what the warehouse refuses, and says what that was as
// "offset reason".
func refuses(b *Batch, table warehouse.CoreTable, have map[int32]int64, whole bool, rows ...warehouse.RefusedRow) (out []string) {
	for _, d := range b.Refuse(table, have, rows, whole) {
		out = append(out, fmt.Sprintf("%d %s", d.Offset, d.Reason))
	}
	return out
}

func refused(row int64, at int) warehouse.RefusedRow {
	return warehouse.RefusedRow{Row: row, Pos: pos(at), Column: "x", Reason: "bad"}
}

const why = `column "x": bad`

// A refused row is the place in the stage, and of the changes folded there the
// one that carried the value.
func TestRefuse(t *testing.T) {
	fill := func() (*world, *Batch) {
		w := newWorld(t, schemas.Column{Name: "x", Type: schemas.Type{Kind: schemas.String}, Unsettable: true})
		b := New(wide)
		w.add(b, 0, change(schemas.Read, 1, 1, "snapshot")) // 0
		w.add(b, 0, change(schemas.Read, 1, 2, "snapshot")) // 1: at the same position
		w.add(b, 0, change(schemas.Update, 2, 2, "older"))  // 2
		newer := change(schemas.Update, 3, 2, "")           // 3
		newer.After[1] = schemas.Cell{}
		w.add(b, 0, newer)
		w.add(b, 0, change(schemas.Read, 1, 3, "snapshot")) // 4
		w.add(b, 0, change(schemas.Update, 2, 2, "older"))  // 5: a repeat
		return w, b
	}
	for name, c := range map[string]struct {
		mode  schemas.Mode
		have  int64
		whole bool
		rows  []warehouse.RefusedRow
		want  []string
		left  map[int64]string
	}{
		"of many at one position": {
			rows: []warehouse.RefusedRow{refused(2, 1)}, want: []string{"4 " + why},
			left: map[int64]string{1: "snapshot", 2: "older"},
		},
		"the change whose value it is, its repeats, and what waits behind": {
			rows: []warehouse.RefusedRow{refused(1, 2)}, want: []string{"2 " + why, "3 ", "5 " + why},
			left: map[int64]string{1: "snapshot", 2: "snapshot", 3: "snapshot"},
		},
		"several": {
			rows: []warehouse.RefusedRow{refused(0, 1), refused(1, 3), refused(1, 2), refused(2, 1), refused(2, 1)},
			want: []string{"0 " + why, "2 " + why, "3 " + why, "4 " + why, "5 " + why},
			left: map[int64]string{2: "snapshot"},
		},
		"of what the table has not": {
			have: 1, rows: []warehouse.RefusedRow{refused(1, 1)}, want: []string{"4 " + why},
			left: map[int64]string{2: "older"},
		},
		"a whole key": {
			whole: true, rows: []warehouse.RefusedRow{refused(1, 3)}, want: []string{"1 later changes of the key are dead letters", "2 ", "3 " + why, "5 "},
			left: map[int64]string{1: "snapshot", 3: "snapshot"},
		},
		"the key itself": {
			rows: []warehouse.RefusedRow{{Row: 1, Pos: pos(2), Column: "id", Reason: "bad"}},
			want: []string{"1 later changes of the key are dead letters", `2 column "id": bad`, "3 ", `5 column "id": bad`},
			left: map[int64]string{1: "snapshot", 3: "snapshot"},
		},
		"a whole key of which nothing is there": {
			whole: true, rows: []warehouse.RefusedRow{refused(1, 9)},
			left: map[int64]string{1: "snapshot", 2: "older", 3: "snapshot"},
		},
		"a history's": { // rows: 0 of key 1; 1 to 3 of key 2; 4 of key 3
			mode: schemas.ModeAppend, rows: []warehouse.RefusedRow{refused(2, 2), refused(4, 1)},
			want: []string{"2 " + why, "3 ", "4 " + why, "5 " + why},
			left: map[int64]string{1: "snapshot", 2: "snapshot"},
		},
		"none that is there": {
			rows: []warehouse.RefusedRow{refused(2, 9), refused(17, 1)},
			left: map[int64]string{1: "snapshot", 2: "older", 3: "snapshot"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, b := fill()
			if c.mode == "" {
				c.mode = schemas.ModeMerge
			}
			table, have := w.core(c.mode), map[int32]int64{0: c.have}
			load(t, b, table, have)
			if got := refuses(b, table, have, c.whole, c.rows...); !slices.Equal(got, c.want) {
				t.Errorf("taken out: %q, want %q", got, c.want)
			}
			l := load(t, b, table, have)
			left := map[int64]string{}
			staged := read(t, l.Rows, 2)
			for _, s := range staged {
				left[s.row[0].Int] = string(s.row[1].Bytes)
			}
			if n := l.Counts; n.Read != 6-c.have || n.Quarantined != int64(len(c.want)) || n.Read != n.Quarantined+n.Folded+int64(len(staged)) {
				t.Errorf("%d are staged, counts %+v", len(staged), n)
			}
			if !maps.Equal(left, c.left) {
				t.Errorf("left %v, want %v", left, c.left)
			}
		})
	}
}
