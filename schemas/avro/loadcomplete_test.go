package avro

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"

	"millrace/schemas"
)

func fullLoad() schemas.LoadComplete {
	at := time.Date(2026, 3, 1, 12, 30, 0, 123456000, time.UTC)
	return schemas.LoadComplete{
		Table: "core.orders", Load: 7, Epoch: 3, Mode: schemas.ModeMerge,
		Ranges:          []schemas.Range{{Topic: "t", Partition: 2, From: 5, To: 1 << 40}, {Topic: "t", Partition: 3}},
		PosMin:          schemas.Position{Epoch: 1},
		PosMax:          schemas.Position{Epoch: 1, Major: 2, Minor: 3, Seq: 4},
		CompleteThrough: schemas.Progress{Pos: schemas.Position{Epoch: 9}, Time: at},
		Rows:            schemas.RowCounts{Read: 1, Applied: 2, Folded: 3, Inserted: 4, Updated: 5, Deleted: 6, Stale: 7, Quarantined: 8},
		Touched: []schemas.Touched{
			{Column: "day", Ranges: [][2]string{{"2026-03-01", "2026-03-02"}, {"2026-03-05", "2026-03-06"}}, Null: true}, {Column: "at"},
		},
		All: true, Covers: schemas.Covers{EventTimes: []string{"day", "at"}, Changes: []string{"customer_id"}},
		SchemaVersion: 4, Snapshot: schemas.SnapshotState{Running: true, Done: true}, JobIDs: []string{"a", "b"},
		StartedAt: at.Add(-time.Second), CommittedAt: at.Add(time.Second),
		Cause: []schemas.Cause{{Table: "core.items", Load: 9}}, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

func TestLoadCompleteRoundTrip(t *testing.T) {
	full := fullLoad()
	everySet(t, reflect.ValueOf(full), "LoadComplete")
	for name, l := range map[string]schemas.LoadComplete{
		"every field": full,
		"none":        {},
		"progress": {
			Table: "core.orders", CompleteThrough: schemas.Progress{Time: time.Unix(0, 0).UTC()},
			StartedAt: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC),
		},
	} {
		b, err := AppendLoadComplete([]byte("x"), &l)
		if err != nil || b[0] != 'x' {
			t.Fatalf("%s: %v", name, err)
		}
		back, err := DecodeLoadComplete(b[1:])
		if err != nil || !reflect.DeepEqual(back, l) {
			t.Errorf("%s: read\n%+v, wrote\n%+v: %v", name, back, l, err)
		}
		for n := range b[1:] {
			if _, err := DecodeLoadComplete(b[1 : n+1]); err == nil {
				t.Fatalf("%s: %d of %d bytes are an event", name, n, len(b)-1)
			}
		}
		if _, err := DecodeLoadComplete(append(b[1:], 0)); err == nil {
			t.Errorf("%s: an event with a byte behind is one", name)
		}
		codec, err := goavro.NewCodec(LoadCompleteSchema)
		if err != nil {
			t.Fatal(err)
		}
		if _, rest, err := codec.NativeFromBinary(b[1:]); err != nil || len(rest) > 0 {
			t.Errorf("%s: goavro leaves %d bytes: %v", name, len(rest), err)
		}
	}
}

// everySet fails if a field of v has its zero value, so that a field which is
// added to the event cannot be left out of the round trip.
func everySet(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	if v.IsZero() && path != "LoadComplete.PosMin.Major" && path != "LoadComplete.PosMin.Minor" && path != "LoadComplete.PosMin.Seq" &&
		!strings.HasPrefix(path, "LoadComplete.CompleteThrough.Pos.") {
		t.Errorf("%s is not set in the test", path)
	}
	if v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]() {
		for i := range v.NumField() {
			everySet(t, v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	}
}

func TestLoadCompleteTimesAreCutDownwards(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 999_999_999, time.FixedZone("x", 3600))
	b, err := AppendLoadComplete(nil, &schemas.LoadComplete{CompleteThrough: schemas.Progress{Time: at}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := DecodeLoadComplete(b)
	if want := at.Truncate(time.Microsecond).UTC(); err != nil || l.CompleteThrough.Time != want {
		t.Errorf("%s, want %s: %v", l.CompleteThrough.Time, want, err)
	}
}

// A writer of another version, which knows a field more and one less.
func TestLoadDecoderResolves(t *testing.T) {
	writer := strings.Replace(LoadCompleteSchema, `{"name":"load","type":"long","doc":"From 1 without gaps, per table."}`,
		`{"name":"load","type":"long"},{"name":"weather","type":"string","default":"fair"}`, 1)
	writer = strings.Replace(writer, `,{"name":"traceparent","type":["null","string"],"default":null}`, "", 1)
	if err := Compatible(Full, []string{LoadCompleteSchema}, writer); err != nil {
		t.Fatal(err)
	}
	d, err := NewLoadDecoder(writer)
	if err != nil {
		t.Fatal(err)
	}
	b, err := AppendLoadComplete(nil, &schemas.LoadComplete{Table: "t", Load: 3, Epoch: 5})
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte{2, 't', 6}, appendString(nil, "foul")...)
	other = append(other, b[3:len(b)-1]...)
	l, err := d.Decode(other)
	if err != nil || l.Load != 3 || l.Epoch != 5 {
		t.Errorf("%+v: %v", l, err)
	}
	for _, s := range []string{"{", `{"type":"record","name":"LoadComplete","fields":[{"name":"table","type":"long"}]}`} {
		if _, err := NewLoadDecoder(s); err == nil {
			t.Errorf("%s is resolved", s)
		}
	}
}
