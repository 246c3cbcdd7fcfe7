package producers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"millrace/schemas"
	"millrace/schemas/avro"
)

// lent is a source of rows that reuses what it hands over.
type lent struct {
	table *schemas.Table
	parts [][]int64 // keys of the rows, as they are handed over together
	bad   int64     // the key of a row that cannot be encoded
	calls int       // parts that emit has taken
	text  string    // of every row; if empty, of the part

	enough int    // bytes of a chunk; 0: any
	told   []bool // whether emit had enough, each time that it took a part
}

func (l *lent) ReadChunk(_ context.Context, t *schemas.Table, _ []schemas.Cell, _ int, emit func([]schemas.Change) error) (Chunk, error) {
	text := []byte("....")
	point := schemas.Position{Epoch: 7, Major: 100}
	for _, part := range l.parts {
		var out []schemas.Change
		for _, key := range part {
			cells := schemas.Row{schemas.IntCell(key), schemas.BytesCell(text)}
			if l.text != "" {
				cells[1] = schemas.BytesCell([]byte(l.text))
			}
			if key == l.bad {
				cells[1] = schemas.BytesCell([]byte{0xff})
			}
			out = append(out, schemas.Change{Table: t, Op: schemas.Read, Position: point, After: cells})
		}
		copy(text, fmt.Sprintf("%04d", part[0]))
		err := emit(out)
		l.told = append(l.told, errors.Is(err, ErrEnough))
		if err != nil && !errors.Is(err, ErrEnough) {
			return Chunk{}, err
		}
		l.calls++
		copy(text, "gone")
		clear(out)
	}
	return Chunk{ReadPoint: point, End: true}, nil
}

func (l *lent) ReadKeys(ctx context.Context, t *schemas.Table, _ [][]schemas.Cell, emit func([]schemas.Change) error) (Chunk, error) {
	return l.ReadChunk(ctx, t, nil, 0, emit)
}

// begin runs a worker until the test ends, and returns it with a job of the table.
func (l *lent) begin(t *testing.T, key ...int) (worker, *job) {
	t.Helper()
	l.table = &schemas.Table{
		Schema: "public", Name: "t", Generation: 1, Key: key, Topic: "p.s.public.t",
		Columns: []schemas.Column{{Name: "id", Type: schemas.Type{Kind: schemas.Int}}, {Name: "text", Type: schemas.Type{Kind: schemas.String}}},
	}
	enc, err := avro.NewEncoder(l.table, "mem", 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(l, cmp.Or(l.enough, 1<<30))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the worker ended with %v", err)
		}
	})
	return w, &job{t: &table{id: "public.t"}, form: form{l.table, enc, 4}}
}

// The end of a job comes behind its rows, and they are the loop's own copies.
func TestRowsLeaveInOrderAndForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lent{parts: [][]int64{{1, 2}, {3}, {4, 5, 6}}, bad: -1}
		w, j := l.begin(t, 0)
		w.jobs <- j
		synctest.Wait() // all of it was read before any of it is taken
		var got []string
		for {
			p := <-w.parcels
			if p.end != nil {
				if p.end.err != nil || !p.end.chunk.End {
					t.Errorf("the job ended with %+v", p.end)
				}
				break
			}
			if p.epoch != 7 {
				t.Errorf("its epoch is %d", p.epoch)
			}
			for i := range p.arena.used {
				r := p.arena.at(i)
				if r.Topic != l.table.Topic || r.Timestamp.IsZero() || len(r.Headers) != 2 || string(r.Headers[0].Value) != "r" {
					t.Errorf("record %+v", r)
				}
				at := bytes.IndexAny(r.Value[40:], "0123456789")
				got = append(got, fmt.Sprintf("%d:%t", r.Key[len(r.Key)-1]/2, at >= 0 && !bytes.Contains(r.Value, []byte("gone"))))
			}
		}
		if want := "1:true 2:true 3:true 4:true 5:true 6:true"; strings.Join(got, " ") != want {
			t.Errorf("rows %v, want %s", got, want)
		}
	})
}

// While the loop takes nothing, reading goes on, but not for ever (G13); and what
// the loop has seen to be void is not read to its end.
func TestReadingRunsAheadWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lent{bad: -1}
		for i := range int64(5 * ahead) {
			l.parts = append(l.parts, []int64{i + 1})
		}
		w, j := l.begin(t, 0)
		w.jobs <- j
		synctest.Wait()
		if l.calls != ahead {
			t.Errorf("%d parcels wait for the loop, want %d", l.calls, ahead)
		}
		j.gone.Store(true)
		for p := range w.parcels {
			if p.end != nil {
				if !errors.Is(p.end.err, errVoid) {
					t.Errorf("the job ended with %v", p.end.err)
				}
				break
			}
			w.giveBack(p)
		}
		if l.calls > ahead+1 {
			t.Errorf("%d parcels were made of a job that was void", l.calls)
		}
	})
}

// A row that cannot be encoded ends the job; the rows before it leave first.
func TestRowThatCannotBeEncodedEndsTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lent{parts: [][]int64{{1}, {2, 3, 4}, {5}}, bad: 3}
		w, j := l.begin(t, 0)
		w.jobs <- j
		first, second, end := <-w.parcels, <-w.parcels, <-w.parcels
		if first.fault != nil || first.arena.used != 1 {
			t.Errorf("first %+v", first)
		}
		if second.arena.used != 1 || second.fault == nil || second.fault.Table != "public.t" || !errors.Is(end.end.err, errVoid) {
			t.Errorf("%d records, fault %v, end %v", second.arena.used, second.fault, end.end.err)
		}
	})
}

// Rows of a table without a key are told apart by their number in the read, which
// begins anew when it is tried again.
func TestRowsWithoutKeyAreNumberedInEachRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lent{parts: [][]int64{{1, 2}, {3}}, bad: -1}
		w, j := l.begin(t)
		for range 2 {
			w.jobs <- j
			var got []string
			for p := range w.parcels {
				if p.end != nil {
					break
				}
				for i := range p.arena.used {
					got = append(got, string(p.arena.at(i).Headers[1].Value))
				}
				w.giveBack(p)
			}
			var want []string
			for n := range uint32(3) {
				want = append(want, keyless(schemas.Position{Epoch: 7, Major: 100}, n+1).String())
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("positions %v, want %v", got, want)
			}
		}
	})
}

// Rows that are read for their keys' sake say so, each in headers of its own.
func TestRowsReadAgainAreMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lent{parts: [][]int64{{1, 2}}, bad: -1}
		w, j := l.begin(t, 0)
		j.keys = [][]schemas.Cell{{schemas.IntCell(1)}, {schemas.IntCell(2)}}
		w.jobs <- j
		p := <-w.parcels
		for i := range 2 {
			if h := p.arena.at(i).Headers; len(h) != 3 || h[2].Key != rereadHeader || string(h[0].Value) != "r" {
				t.Errorf("headers %v", h)
			}
		}
		<-w.parcels
	})
}

func TestNextChunk(t *testing.T) {
	s := &session{o: &Options{ChunkRows: 100, MaxChunkRows: 300}}
	for _, c := range []struct {
		limit, rows int // fewer rows: they had enough bytes
		took        time.Duration
		want        int
	}{
		{100, 100, 0, 200},
		{200, 200, 0, 300},
		{300, 300, 0, 300},
		{200, 200, chunkShort, 200},
		{200, 200, chunkLong, 200},
		{300, 300, chunkLong + 1, 150},
		{100, 100, time.Hour, 100},
		{300, 280, 0, 280},
		{300, 3, 0, 150},
		{150, 3, 0, 100},
		{300, 280, time.Hour, 150},
	} {
		r := result{job: &job{limit: c.limit}, rows: c.rows, enough: c.rows < c.limit, took: c.took}
		if got := s.nextChunk(r); got != c.want {
			t.Errorf("after %d rows of %d in %s come %d, want %d", c.rows, c.limit, c.took, got, c.want)
		}
	}
}

// A chunk whose rows have enough bytes ends, and its end says so; not so the keys
// that are read again, and the rows of a table without a key, which have no place
// to go on from.
func TestChunkEndsWhenItsRowsHaveEnoughBytes(t *testing.T) {
	for _, c := range []struct {
		name  string
		key   []int
		reads bool // of keys
		told  string
	}{
		{"chunk", []int{0}, false, "[false true]"},
		{"keys", []int{0}, true, "[false false]"},
		{"without a key", nil, false, "[false false]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &lent{parts: [][]int64{{1, 2}, {3, 4, 5}}, bad: -1, text: strings.Repeat("w", 1000), enough: 4500}
				w, j := l.begin(t, c.key...)
				if c.reads {
					j.keys = [][]schemas.Cell{{schemas.IntCell(1)}}
				}
				w.jobs <- j
				for p := range w.parcels {
					if p.end == nil {
						continue
					}
					if p.end.err != nil || p.end.rows != 5 || p.end.enough != (c.name == "chunk") {
						t.Errorf("it ended with %+v", p.end)
					}
					break
				}
				if got := fmt.Sprint(l.told); got != c.told {
					t.Errorf("after its parts the source was told %s, want %s", got, c.told)
				}
			})
		})
	}
}

// What a wide row took is given back: by the parcels that wait, but for their own
// records, and by all of them once those are flushed (G13).
func TestWideRowsAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lent{parts: [][]int64{{1}, {2}}, bad: -1, text: strings.Repeat("w", 3*blockSize)}
		w, j := l.begin(t, 0)
		w.jobs <- j
		p := <-w.parcels
		if n := len(p.arena.at(0).Value); n < len(l.text) {
			t.Fatalf("a record of %d bytes", n)
		}
		if n := cap(p.arena.scratch); n > blockSize {
			t.Errorf("a parcel that waits holds %d bytes beside its records", n)
		}
		<-w.parcels
		<-w.parcels
		synctest.Wait()                             // the worker has read all, and takes no free parcel
		p.arena.scratch = make([]byte, 3*blockSize) // as the stream's has it
		w.giveBack(p)
		for i, r := range p.arena.records[0] {
			if r.Value != nil || r.Key != nil || r.Headers != nil {
				t.Fatalf("a free parcel holds record %d", i)
			}
		}
		if n := cap(p.arena.scratch); n > blockSize {
			t.Errorf("a free parcel holds %d bytes", n)
		}
	})
}

// A chunk that fails is read again with fewer rows: one that is too long for its
// server, which keeps old rows for a time, would fail each time.
func TestChunkThatFailsIsReadAgainWithFewerRows(t *testing.T) {
	tab := &table{id: "public.t"}
	tab.Table = &schemas.Table{Schema: "public", Name: "t", Key: []int{0}}
	s := &session{
		p: &Producer{metrics: newMetrics(nil, "s", func() Status { return Status{} })}, o: &Options{ChunkRows: 100, MaxChunkRows: 1600}, worker: newWorker(nil, 0),
	}
	j := &job{t: tab, limit: 350}
	for _, c := range []struct {
		err  error
		want int
	}{{ErrRewritten, 350}, {errors.New("snapshot too old"), 175}, {errors.New("snapshot too old"), 100}, {errors.New("snapshot too old"), 100}} {
		if err := s.chunk(result{job: j, err: c.err}); err != nil {
			t.Fatal(err)
		}
		if again := <-s.worker.jobs; again.limit != c.want {
			t.Errorf("after %v %d rows are asked for, want %d", c.err, again.limit, c.want)
		}
	}
}
