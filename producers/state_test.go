package producers

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schemas"
)

func position(n, base int64, token, previous string) *record {
	r := &record{N: n, Base: base, Writer: "w", Value: json.RawMessage(fmt.Sprintf(`{"epoch":1,"token":%q}`, token))}
	if previous != "" {
		r.Previous = json.RawMessage(fmt.Sprintf(`{"epoch":1,"token":%q}`, previous))
	}
	return r
}

func tableRecord(n, base int64, partitions int, previous int) *record {
	r := &record{N: n, Base: base, Writer: "w", Value: json.RawMessage(fmt.Sprintf(`{"partitions":%d}`, partitions))}
	if previous > 0 {
		r.Previous = json.RawMessage(fmt.Sprintf(`{"partitions":%d}`, previous))
	}
	return r
}

func TestResume(t *testing.T) {
	// JSON has bytes in base64.
	const seven, eight = "Nw==", "OA=="
	for _, c := range []struct {
		name     string
		position *record
		tables   map[string]*record
		torn     bool
		n, base  int64
		token    string
		want     map[string]int32 // partitions, by table
		undone   []string
	}{
		{name: "nothing yet", torn: true, want: map[string]int32{}},
		{
			name: "Kafka: all counts", position: position(8, 7, eight, ""), tables: map[string]*record{"a": tableRecord(8, 7, 2, 0)},
			n: 8, base: 8, token: "8", want: map[string]int32{"a": 2},
		},
		{
			name: "the last does not count", torn: true, position: position(8, 7, eight, seven),
			tables: map[string]*record{"a": tableRecord(8, 7, 2, 1), "b": tableRecord(5, 4, 4, 3), "c": tableRecord(8, 7, 6, 0)},
			n:      8, base: 7, token: "7", want: map[string]int32{"a": 1, "b": 4}, undone: []string{"a", "c"},
		},
		{
			name: "its checkpoint is lost", torn: true, position: position(7, 6, seven, "Ng=="), tables: map[string]*record{"a": tableRecord(8, 7, 2, 1)},
			n: 8, base: 7, token: "7", want: map[string]int32{"a": 1}, undone: []string{"a"},
		},
		{
			name: "its table is lost", torn: true, position: position(8, 7, eight, seven), tables: map[string]*record{"a": tableRecord(7, 6, 1, 0)},
			n: 8, base: 7, token: "7", want: map[string]int32{"a": 1},
		},
		{
			name: "the first after a torn one is torn itself: the one before it still does not count", torn: true,
			position: position(9, 7, "OQ==", seven), tables: map[string]*record{"a": tableRecord(8, 7, 2, 1)},
			n: 9, base: 7, token: "7", want: map[string]int32{"a": 1}, undone: []string{"a"},
		},
		{
			name: "the first after a torn one, and another", torn: true, position: position(10, 9, "MTA=", "OQ=="), tables: map[string]*record{"a": tableRecord(9, 7, 1, 1)},
			n: 10, base: 9, token: "9", want: map[string]int32{"a": 1},
		},
		{
			name: "what never counted stays away", torn: true, position: position(10, 9, "MTA=", "OQ=="), tables: map[string]*record{"c": {N: 9, Base: 7, Value: json.RawMessage("null")}},
			n: 10, base: 9, token: "9", want: map[string]int32{},
		},
	} {
		got, err := resume(c.position, c.tables, c.torn)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		have := make(map[string]int32)
		for id, state := range got.tables {
			have[id] = state.Partitions
		}
		slices.Sort(got.undone)
		if got.n != c.n || got.base != c.base || string(got.Token) != c.token || fmt.Sprint(have) != fmt.Sprint(c.want) || !slices.Equal(got.undone, c.undone) {
			t.Errorf("%s: n %d, base %d, token %q, tables %v, undone %v", c.name, got.n, got.base, got.Token, have, got.undone)
		}
	}
	if _, err := resume(&record{N: 1, Value: json.RawMessage(`{"epoch":"x"}`)}, nil, false); err == nil {
		t.Error("a checkpoint that cannot be read is no error")
	}
}

func TestStateSurvivesJSON(t *testing.T) {
	in := tableState{
		Table: &schemas.Table{Name: "t", Key: []int{0}, Generation: 2, Columns: []schemas.Column{{Name: "d", Type: schemas.Type{Kind: schemas.Decimal, Precision: 9, Scale: 2}}}},
		State: []byte("\xff\x00"), Since: schemas.Position{Epoch: 1, Major: 1 << 63},
		Snapshot: snapshotState{Running: true, After: []schemas.Cell{schemas.IntCell(-1 << 63), schemas.BytesCell([]byte{0xff}), schemas.NullCell()}},
		Rereads:  []reread{{Key: []schemas.Cell{schemas.IntCell(1<<63 - 1)}, Above: schemas.Position{Epoch: 1}}},
	}
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out tableState
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	if again, _ := json.Marshal(out); string(again) != string(raw) || string(out.State) != "\xff\x00" || out.Snapshot.After[0].Int != -1<<63 || out.Rereads[0].Key[0].Int != 1<<63-1 {
		t.Fatalf("%s became %s", raw, again)
	}
}

func TestArenaKeepsWhatItWasGiven(t *testing.T) {
	var a arena
	for round := range 3 {
		var kept [][]byte
		var want []string
		var records []*kgo.Record
		for i := range 3000 {
			b := []byte(fmt.Sprint(round, " ", i))
			if i%500 == 0 {
				b = slices.Repeat(b, 20_000)
			}
			want, kept = append(want, string(b)), append(kept, a.keep(b))
			r := a.record()
			r.Headers = a.header(1 + i%3)
			r.Headers[0].Value = kept[i]
			r.Value = kept[i]
			records = append(records, r)
			for j := range b {
				b[j] = 'x' // it was copied
			}
		}
		for i := range want {
			if string(kept[i]) != want[i] || string(records[i].Value) != want[i] || string(records[i].Headers[0].Value) != want[i] || len(records[i].Headers) != 1+i%3 {
				t.Fatalf("round %d: %d was overwritten", round, i)
			}
		}
		a.reset()
	}
}

// Records of one read point share their headers; one that gets another has a copy.
func TestHeadersAreShared(t *testing.T) {
	var a arena
	at := schemas.Position{Epoch: 1, Major: 5}
	first, second := a.opAndPos(2, schemas.Read, at), a.opAndPos(2, schemas.Read, at)
	if &first[0] != &second[0] {
		t.Error("two of one read point differ")
	}
	marked := append(second, kgo.RecordHeader{Key: "x"}) //nolint:gocritic // that it is a copy is the point
	marked[0].Key = "other"
	third := a.opAndPos(3, schemas.Read, at)
	third[2] = kgo.RecordHeader{Key: "oldkey"}
	for _, c := range []struct {
		op  schemas.Op
		pos schemas.Position
	}{{schemas.Update, at}, {schemas.Read, schemas.Position{Epoch: 1, Major: 6}}, {schemas.Read, at}} {
		h := a.opAndPos(2, c.op, c.pos)
		if len(h) != 2 || h[0].Key != "op" || string(h[0].Value) != c.op.String() || string(h[1].Value) != c.pos.String() {
			t.Errorf("of %s at %s: %v", c.op, c.pos, h)
		}
	}
	if len(first) != 2 || first[0].Key != "op" || string(first[1].Value) != at.String() {
		t.Errorf("the first became %v", first)
	}
	a.reset()
	if again := a.opAndPos(2, schemas.Read, at); string(again[1].Value) != at.String() {
		t.Errorf("after a reset: %v", again)
	}
}

func TestParseRecord(t *testing.T) {
	if _, err := parseRecord(&kgo.Record{Key: []byte("k"), Value: []byte("{")}); err == nil {
		t.Error("a torn record is no error")
	}
	var syntax *json.SyntaxError
	if _, err := parseRecord(&kgo.Record{Value: []byte("?")}); !errors.As(err, &syntax) {
		t.Errorf("%v", err)
	}
}
