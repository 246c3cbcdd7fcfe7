package coretable

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

func TestStay(t *testing.T) {
	d := sqlgen.BigQuery()
	was := wanted()
	was.Mode = schemas.ModeAppend
	def := New(d, was)
	before := slices.Clone(def.Columns)
	s := &warehouse.Succession{Table: was, Generation: 3, Load: 8, Topic: "t.g3", TopicID: "id-3"}
	s.Table.Key = []string{"note", "id"}
	s.Table.Columns = slices.Clone(was.Columns)
	s.Table.Columns[0].Type = kind(schemas.String)                                         // cannot be held by the old column
	s.Table.Columns[3].Type = schemas.Type{Kind: schemas.Decimal, Precision: 25, Scale: 4} // can, once it is wider
	next, err := def.Stay(d, s)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range next.Columns {
		names = append(names, c.Name)
		if c.Key != slices.Contains(s.Table.Key, c.Name) || c.Key && c.Unsettable {
			t.Errorf("column %+v", c)
		}
	}
	if !slices.Equal(names, []string{"id__g2", "at", "note", "n", "id"}) || next.Columns[3].Type.Kind != schemas.Decimal || next.Generation != 3 ||
		len(next.Unsettable) != 0 || !slices.Equal(next.Key, s.Table.Key) {
		t.Errorf("%+v", next)
	}
	if !reflect.DeepEqual(def.Columns, before) || len(def.Unsettable) != 1 {
		t.Errorf("the old definition became %+v", def)
	}
}

func TestHeadsOfSuccessions(t *testing.T) {
	at := func(major uint64, hour int) schemas.Progress {
		return schemas.Progress{Pos: schemas.Position{Epoch: 1, Major: major}, Time: time.Date(2024, 3, 1, hour, 0, 0, 0, time.UTC)}
	}
	was := Head{Head: warehouse.Head{
		Epoch: 4, Load: 7, Topic: "t", TopicID: "id", Offsets: map[int32]int64{0: 9}, Marks: map[int32]warehouse.Mark{0: {Complete: at(5, 5), Ended: true}},
		Complete: at(5, 5), Snapshot: schemas.SnapshotState{Done: true},
	}, Name: "core.t", Mode: schemas.ModeMerge, Key: []string{"id"}, Unsettable: []string{"note"}, Generation: 1}
	from := Head{Head: warehouse.Head{
		Epoch: 2, Load: 30, Topic: "t.g2", TopicID: "id-2", Offsets: map[int32]int64{0: 3}, Marks: map[int32]warehouse.Mark{0: {Complete: at(9, 4)}}, Complete: at(9, 4),
	}, Name: "core.t__g2", Mode: schemas.ModeMerge, Key: []string{"id", "n"}, Generation: 1, Ended: at(8, 0).Pos}
	s := &warehouse.Succession{Load: 8, Generation: 2, Topic: "t.g2", TopicID: "id-2", Table: warehouse.CoreTable{Key: []string{"n"}}}

	next := was.TakesIn(from, s)
	want := from
	want.Name, want.Epoch, want.Load, want.Generation = "core.t", 4, 8, 2
	want.Complete = schemas.Progress{Pos: at(9, 0).Pos, Time: at(0, 5).Time} // neither goes back
	want.Snapshot.Done = true
	if !reflect.DeepEqual(next, want) {
		t.Errorf("got %+v, want %+v", next, want)
	}

	next = was.Stays(s, nil)
	if next.Load != 8 || next.Epoch != 4 || next.Topic != "t.g2" || next.TopicID != "id-2" || len(next.Offsets) != 0 || len(next.Marks) != 0 || next.Offsets == nil ||
		next.Complete != was.Complete || next.Generation != 2 || !slices.Equal(next.Key, []string{"n"}) || len(was.Offsets) != 1 {
		t.Errorf("got %+v", next)
	}
}

// A mark that rises keeps what it said of the topic's end.
func TestEndOfATopicIsRemembered(t *testing.T) {
	h := Head{Head: warehouse.Head{Marks: map[int32]warehouse.Mark{0: {Ended: true}}}}
	next, err := h.After(&warehouse.Batch{Load: 1, Partitions: 1, Marks: map[int32]warehouse.Mark{0: {}}}, true)
	if err != nil || !next.Marks[0].Ended {
		t.Errorf("%+v %v", next.Marks, err)
	}
}
