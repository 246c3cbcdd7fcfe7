package coretable

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

func kind(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }

func wanted() warehouse.CoreTable {
	return warehouse.CoreTable{
		Name: "core.t", Mode: schemas.ModeMerge, Key: []string{"id"}, EventTimes: []string{"at"},
		Columns: []schemas.Column{
			{Name: "id", Type: kind(schemas.Int)},
			{Name: "at", Type: kind(schemas.Timestamp)},
			{Name: "note", Type: kind(schemas.String), Unsettable: true},
			{Name: "n", Type: kind(schemas.Int)},
		},
	}
}

func TestEvolve(t *testing.T) {
	d := sqlgen.BigQuery()
	def := New(d, wanted())
	if same, steps, err := def.Evolve(d, wanted()); err != nil || len(steps) != 0 || !reflect.DeepEqual(same, def) {
		t.Errorf("nothing to do: %v %v", steps, err)
	}
	want := wanted()
	want.Columns[3].Type = schemas.Type{Kind: schemas.Decimal, Precision: 25, Scale: 4}
	want.Columns[1].Unsettable = true
	want.Columns = append(want.Columns, schemas.Column{Name: "new", Type: kind(schemas.Date)})
	next, steps, err := def.Evolve(d, want)
	if err != nil || !reflect.DeepEqual(steps, []Step{{Column: 3}, {Column: 4, Add: true}}) {
		t.Fatalf("%v %v", steps, err)
	}
	if next.Columns[3].Type != want.Columns[3].Type || !next.Columns[1].Unsettable || !reflect.DeepEqual(next.Unsettable, []string{"note", "at"}) {
		t.Errorf("%+v", next)
	}
	// What was known is not changed by it, and what can be unset stays so.
	if len(def.Columns) != 4 || def.Columns[1].Unsettable || def.Columns[3].Type.Kind != schemas.Int {
		t.Errorf("the old definition became %+v", def)
	}
	if back, steps, err := next.Evolve(d, wanted()); err != nil || len(steps) != 0 || !back.Columns[1].Unsettable {
		t.Errorf("an older version: %v %v", steps, err)
	}
	for say, change := range map[string]func(*warehouse.CoreTable){
		"cannot become append": func(c *warehouse.CoreTable) { c.Mode = schemas.ModeAppend },
		"a new generation":     func(c *warehouse.CoreTable) { c.Key = []string{"id", "n"} },
		"without loss":         func(c *warehouse.CoreTable) { c.Columns[2].Type = kind(schemas.Int) },
		"names apart": func(c *warehouse.CoreTable) {
			c.Columns = append(c.Columns, schemas.Column{Name: "NOTE", Type: kind(schemas.Int)})
		},
	} {
		want := wanted()
		change(&want)
		if _, _, err := def.Evolve(d, want); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("got %v, want %s", err, say)
		}
	}
}

func TestCoreSpeaksForWhatIsNeeded(t *testing.T) {
	d := sqlgen.BigQuery()
	def := New(d, wanted())
	def.Needs = append(Needs("a", warehouse.Kept{Changes: []string{"note", "id", "gone"}}), Needs("b", warehouse.Kept{EventTimes: []string{"at", "n"}, Changes: []string{"n"}})...)
	def.Images = []string{"id", "note"} // n is needed, and not there yet
	changed, some := def.Imaged()
	if !some || !reflect.DeepEqual(changed, []int{2, 3}) {
		t.Errorf("images of %v", changed)
	}
	batch := wanted()
	batch.Columns = batch.Columns[:3]
	c, kept, err := def.Core(d, sqlgen.Name{Dataset: "core", Table: "t"}, batch)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(kept, warehouse.Kept{EventTimes: []string{"at"}, Changes: []string{"note", "id"}}) || !c.KeepImages || c.Columns[3].Staged || !c.Columns[2].Staged {
		t.Errorf("%+v of %+v", kept, c.Columns)
	}
	batch.Columns = batch.Columns[1:]
	if _, _, err := def.Core(d, c.Name, batch); err == nil || !strings.Contains(err.Error(), `key column "id"`) {
		t.Errorf("a batch without the key: %v", err)
	}
}

// A table in ModeUpsert is for warehouses that say so, and keeps nothing of what
// its loads change.
func TestModeUpsert(t *testing.T) {
	want := wanted()
	want.Mode = schemas.ModeUpsert
	if err := Check(want, schemas.ModeUpsert); err != nil {
		t.Error(err)
	}
	if err := Check(want); err == nil || !strings.Contains(err.Error(), `mode "upsert"`) {
		t.Errorf("where there is none: %v", err)
	}
	want.Key = nil
	if err := Check(want, schemas.ModeUpsert); err == nil || !strings.Contains(err.Error(), "without a key") {
		t.Errorf("without a key: %v", err)
	}
	d := sqlgen.BigQuery()
	def := New(d, want)
	def.Needs = Needs("a", warehouse.Kept{EventTimes: []string{"at"}, Changes: []string{"note"}})
	if changed, some := def.Imaged(); some || changed != nil {
		t.Errorf("images of %v", changed)
	}
	if _, _, err := def.Evolve(d, wanted()); err == nil || !strings.Contains(err.Error(), "cannot become merge: load the topic into another table") {
		t.Errorf("another mode: %v", err)
	}
}

func at(n uint64) schemas.Position { return schemas.Position{Epoch: 1, Major: n} }

func TestHeadNeverGoesBack(t *testing.T) {
	mark := func(n uint64, done uint64) warehouse.Mark {
		m := warehouse.Mark{Complete: schemas.Progress{Pos: at(n), Time: time.Unix(int64(n), 0).UTC()}} //nolint:gosec // small
		if done > 0 {
			m.SnapshotDone = at(done)
		}
		return m
	}
	h := Head{Head: warehouse.Head{Load: 4, Offsets: map[int32]int64{0: 5}, Marks: map[int32]warehouse.Mark{0: mark(10, 0)}, Snapshot: schemas.SnapshotState{Running: true}}}
	b := &warehouse.Batch{Load: 5, Partitions: 2, Ranges: []schemas.Range{{Partition: 0, From: 5, To: 9}}, Marks: map[int32]warehouse.Mark{0: mark(8, 7), 1: mark(6, 0)}}
	next, err := h.After(b, true)
	if err != nil || next.Load != 5 || next.Offsets[0] != 9 || next.Marks[0].Complete.Pos != at(10) || next.Complete.Pos != at(6) || !next.Snapshot.Running {
		t.Fatalf("%+v %v", next, err)
	}
	if h.Offsets[0] != 5 || len(h.Marks) != 1 {
		t.Errorf("the old head became %+v", h)
	}
	// The snapshot is over once every partition says so. While a dead letter is
	// unresolved it removes nothing, and the table is complete no further.
	b = &warehouse.Batch{Load: 6, Partitions: 2, Marks: map[int32]warehouse.Mark{1: mark(20, 12)}, Blocked: true}
	held, err := next.After(b, true)
	if err != nil || !held.Snapshot.Done || !held.Over || !held.Ended.IsZero() || held.Complete.Pos != at(6) || !held.Horizon.IsZero() {
		t.Errorf("blocked: %+v %v", held, err)
	}
	b = &warehouse.Batch{Load: 7, Partitions: 2, Truncate: at(3)}
	ended, err := held.After(b, true)
	if err != nil || ended.Snapshot != (schemas.SnapshotState{Done: true}) || ended.Over || ended.Horizon != at(7) || ended.Ended != at(7) || ended.Complete.Pos != at(10) {
		t.Errorf("ended: %+v %v", ended, err)
	}
	if kept, err := held.After(b, false); err != nil || !kept.Horizon.IsZero() {
		t.Errorf("a history: %+v %v", kept, err)
	}
	b.Ranges = []schemas.Range{{Partition: 0, From: 8, To: 12}}
	if _, err := ended.After(b, true); err == nil {
		t.Error("offsets went back")
	}
	if moved := ended.Moved(map[int32]int64{0: 2}); moved.Offsets[0] != 2 || ended.Offsets[0] != 9 {
		t.Errorf("moved %v, from %v", moved.Offsets, ended.Offsets)
	}
}

func TestBatchOfAnotherTopic(t *testing.T) {
	for _, b := range []*warehouse.Batch{
		{},
		{Partitions: 1, Marks: map[int32]warehouse.Mark{1: {}}},
		{Partitions: 1, Ranges: []schemas.Range{{Partition: 1}}},
		{Partitions: 1, Ranges: []schemas.Range{{From: 2, To: 1}}},
	} {
		if err := CheckBatch(b); err == nil {
			t.Errorf("%+v was taken", b)
		}
	}
	if err := CheckCounts(schemas.RowCounts{Read: 5, Folded: 2, Quarantined: 1}, 2); err != nil {
		t.Error(err)
	}
	if err := CheckCounts(schemas.RowCounts{Read: 5, Folded: 2, Quarantined: 1}, 3); err == nil {
		t.Error("a change too many was taken")
	}
}
