package workload

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func spec() Spec {
	return Spec{Seed: 7, Tables: 2, Width: 12, Types: Types, Mix: Mix{50, 39, 9, 2}, Toast: 5, Zipf: 1.2, Transaction: 10, Late: 10}
}

var start = time.UnixMicro(1_800_000_000_000_000)

// The same seed gives the same changes and rows; another gives others.
func TestASeedDecidesEverything(t *testing.T) {
	run := func(seed uint64) (txs []Tx, sums []uint64) {
		s := spec()
		s.Seed = seed
		g := New(s)
		for i := range 200 {
			txs = append(txs, g.Next(10, start.Add(time.Duration(i)*time.Millisecond)))
		}
		columns := s.Columns()
		for table := range s.Tables {
			g.Rows(table, func(o Op) {
				row := make([]*string, len(columns))
				for i, c := range columns {
					row[i] = Literal(s.Value(c, o))
				}
				sums = append(sums, Sum(columns, row))
			})
		}
		return txs, sums
	}
	txs, sums := run(7)
	again, sumsAgain := run(7)
	if !reflect.DeepEqual(txs, again) || !slices.Equal(sums, sumsAgain) {
		t.Error("the same seed gave something else")
	}
	if other, _ := run(8); reflect.DeepEqual(txs, other) {
		t.Error("another seed gave the same")
	}
}

// A row exists before it changes, no key is in a transaction twice, and what
// Rows tells is what the changes left.
func TestChangesFit(t *testing.T) {
	g := New(spec())
	live := []map[int64]Op{{}, {}}
	count := map[Kind]int{}
	for i := range 2000 {
		tx := g.Next(10, start)
		keys := map[int64]bool{}
		for _, o := range tx {
			count[o.Kind]++
			rows := live[o.Table]
			touched := []int64{o.Key}
			switch o.Kind {
			case Insert:
				if _, ok := rows[o.Key]; ok {
					t.Fatalf("transaction %d inserts key %d again", i, o.Key)
				}
			case Key:
				if _, ok := rows[o.Old]; !ok {
					t.Fatalf("transaction %d moves key %d, which is not there", i, o.Old)
				}
				delete(rows, o.Old)
				touched = append(touched, o.Old)
			default:
				if _, ok := rows[o.Key]; !ok {
					t.Fatalf("transaction %d changes key %d, which is not there", i, o.Key)
				}
			}
			rows[o.Key] = o
			if o.Kind == Delete {
				delete(rows, o.Key)
			}
			for _, k := range touched {
				if keys[k] {
					t.Fatalf("transaction %d meets key %d twice", i, k)
				}
				keys[k] = true
			}
		}
	}
	for table, want := range live {
		got := map[int64]Op{}
		g.Rows(table, func(o Op) { got[o.Key] = o })
		if !reflect.DeepEqual(got, want) {
			t.Errorf("table %d: %d rows are told, %d are there", table, len(got), len(want))
		}
	}
	for k, share := range map[Kind]int{Insert: 50, Update: 39, Delete: 9, Key: 2} {
		if got := count[k] * 100 / 20_000; got < share-2 || got > share+2 {
			t.Errorf("kind %d: %d of 100, want %d", k, got, share)
		}
	}
}

func TestEvents(t *testing.T) {
	if n := (Tx{{Kind: Insert}, {Kind: Key}, {Kind: Delete}}).Events(); n != 4 {
		t.Errorf("%d events", n)
	}
}

func TestSkew(t *testing.T) {
	share := func(zipf float64) int {
		s := spec()
		s.Zipf, s.Mix = zipf, Mix{Update: 1}
		g := New(s)
		g.Fill(10_000, start)
		count := map[int64]int{}
		for range 2000 {
			for _, o := range g.Next(1, start) {
				count[o.Key]++
			}
		}
		most := 0
		for _, n := range count {
			most = max(most, n)
		}
		return most
	}
	if even, skewed := share(0), share(1.5); even > 20 || skewed < 50 {
		t.Errorf("the hottest of 10,000 keys has %d of 2,000 changes, and %d under Zipf", even, skewed)
	}
}

func TestValues(t *testing.T) {
	s := spec()
	long, late, nulls := 0, 0, 0
	for key := range int64(10_000) {
		o := Op{Kind: Update, Key: key, Version: 5}
		for _, c := range s.Columns() {
			v := s.Value(c, o)
			switch {
			case c.Name == Note && len(v.(string)) > 2000:
				long++
			case c.Name == Created && v.(time.Time).Before(base):
				late++
			case v == nil:
				nulls++
			}
		}
	}
	if long < 400 || long > 600 || late < 900 || late > 1100 || nulls == 0 {
		t.Errorf("of 10,000 rows %d have a long value and %d are late; %d values are null", long, late, nulls)
	}
	note := Column{Note, Long}
	if a, b := s.Value(note, Op{Key: 9, Version: 4}), s.Value(note, Op{Key: 9, Version: 5}); a != b || !(Op{Kind: Update, Version: 4}).WritesNote() || (Op{Kind: Update, Version: 5}).WritesNote() {
		t.Error("an update that leaves the note alone has another one")
	}
	if n := len(s.Columns()); n != s.Width {
		t.Errorf("%d columns, want %d", n, s.Width)
	}
}

// What databases spell differently is one row; what differs is another.
func TestSum(t *testing.T) {
	columns := []Column{{"a", Decimal}, {"b", Bool}, {"c", Double}, {"d", Text}}
	row := func(values ...string) []*string {
		out := make([]*string, len(values))
		for i := range values {
			if values[i] != "NULL" {
				out[i] = &values[i]
			}
		}
		return out
	}
	one := Sum(columns, row("1.5000", "1", "12", "x"))
	if two := Sum(columns, row("1.5", "true", "12.0", "x")); one != two {
		t.Error("two spellings of a row have two sums")
	}
	for _, other := range [][]*string{
		row("1.5001", "1", "12", "x"), row("1.5", "0", "12", "x"), row("1.5", "1", "12.5", "x"),
		row("1.5", "1", "12", ""), row("1.5", "1", "12", "NULL"), row("NULL", "1", "12", "x"),
	} {
		if Sum(columns, other) == one {
			t.Error("two rows have one sum")
		}
	}
}

func TestSchedule(t *testing.T) {
	s := &Schedule{Begin: start, Rate: 1000, Each: 10, Burst: Burst{Every: time.Second, For: 100 * time.Millisecond, Times: 5}}
	n := 0
	for s.Next().Before(start.Add(time.Second)) {
		n += 10
	}
	if n < 1390 || n > 1410 { // 100 ms of 5,000 a second and 900 ms of 1,000
		t.Errorf("%d changes in a second", n)
	}
}
