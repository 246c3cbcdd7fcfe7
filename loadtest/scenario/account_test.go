package scenario

import (
	"math/big"
	"testing"

	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
	"millrace/schemas"
)

func at(n uint64) schemas.Position { return schemas.Position{Epoch: 1, Major: n, Seq: 1} }

func create(key int64, pos uint64, sum uint64) *event {
	return &event{op: schemas.Create, key: key, pos: at(pos), sum: sum, note: true, noteSum: 5}
}

// What a topic lacks, has twice, or has wrong is found; and nothing else is.
func TestTopicsAreAccounted(t *testing.T) {
	sound := []*event{
		create(1, 10, 100), create(2, 11, 200), create(3, 12, 300),
		{op: schemas.Update, key: 2, pos: at(13), sum: 250}, // leaves the note alone
		{op: schemas.Delete, key: 3, pos: at(14), note: true},
	}
	source := measure.Rows{1: 105, 2: 255}
	row := &event{op: schemas.Read, key: 1, pos: at(8), sum: 100, note: true, noteSum: 5}
	for name, c := range map[string]struct {
		events []*event
		want   measure.Account
	}{
		"sound":              {sound, measure.Account{}},
		"a change is lost":   {append(append([]*event{}, sound[:3]...), sound[4]), measure.Account{Wrong: 1}},
		"a row is lost":      {sound[1:], measure.Account{Lost: 1}},
		"a delete is lost":   {sound[:4], measure.Account{Wrong: 1}},
		"a change is twice":  {append(append([]*event{}, sound...), sound[3]), measure.Account{Duplicated: 1}},
		"a delete is twice":  {append(append([]*event{}, sound...), sound[4]), measure.Account{Duplicated: 1}},
		"a value is another": {append([]*event{create(1, 10, 101)}, sound[1:]...), measure.Account{Wrong: 1}},
		"a row is read twice": {
			append([]*event{row, row}, sound[1:]...), measure.Account{Duplicated: 1},
		},
		"a row is read and created": {append([]*event{row}, sound...), measure.Account{}},
		"a late snapshot row": {
			append(append([]*event{}, sound...), &event{op: schemas.Read, key: 1, pos: at(9), sum: 1, note: true}), measure.Account{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := measure.Account{}
			f := &fold{rows: map[int64]folded{}, account: &got, table: "t"}
			for _, e := range c.events {
				f.add(e)
			}
			f.target().Compare(source)
			if got.Lost != c.want.Lost || got.Duplicated != c.want.Duplicated || got.Wrong != c.want.Wrong {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestOffsetsAreAccounted(t *testing.T) {
	for _, c := range []struct {
		got  Discarded
		want measure.Account
	}{
		{Discarded{Events: 10}, measure.Account{}},
		{Discarded{Events: 8, Gaps: 2}, measure.Account{Lost: 4}}, // both tell of it
		{Discarded{Events: 9}, measure.Account{Lost: 1}},
		{Discarded{Events: 12, Repeats: 2}, measure.Account{Duplicated: 2}},
		{Discarded{Events: 10, Refused: 3}, measure.Account{Wrong: 3}},
	} {
		got := c.got.account(10)
		if got.Lost != c.want.Lost || got.Duplicated != c.want.Duplicated || got.Wrong != c.want.Wrong || got.OK() != (len(got.Examples) == 0) {
			t.Errorf("%+v: %+v", c.got, got)
		}
	}
}

// A value comes out of an event as it went in, whatever its type.
func TestValuesSurviveEvents(t *testing.T) {
	s := workload.Spec{Seed: 3, Tables: 1, Width: 12, Types: workload.Types, Toast: 50}
	for key := range int64(300) {
		o := workload.Op{Key: key, Version: int32(key % 7), IntendedUs: key}
		for _, c := range s.Columns() {
			v := s.Value(c, o)
			in, err := cell(c.Type, v)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := workload.Term(c, text(kinds[c.Type], in)), workload.Term(c, workload.Literal(v)); got != want {
				t.Errorf("%s %v came out as %v", c.Type, v, text(kinds[c.Type], in))
			}
		}
	}
	if n := twos(schemas.AppendTwos(nil, -123456)); n.Cmp(big.NewInt(-123456)) != 0 {
		t.Errorf("-123456 came out as %v", n)
	}
}
