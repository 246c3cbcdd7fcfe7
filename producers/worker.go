package producers

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schemas"
)

// errVoid ends the reading of a chunk that no longer counts.
var errVoid = errors.New("the snapshot has started over")

// job is one chunk to be read, or the keys of one table.
type job struct {
	t       *table // belongs to the loop
	form    form   // of the version whose rows are read
	attempt int    // of the table's snapshot; if that has started over, the job is void
	pause   time.Duration
	after   []schemas.Cell
	limit   int
	keys    [][]schemas.Cell // if not nil, these are read
	tries   int
	gone    atomic.Bool // the loop has seen that the job is void
}

func (j *job) void() bool { return j.attempt != j.t.attempt }

// parcel is some of a job's rows as records, and the memory in which they lie: it
// is free again once they are flushed. The last parcel of a job has none.
type parcel struct {
	job   *job
	arena arena
	epoch uint32     // the greatest of their positions'
	fault *HaltError // why the row behind them cannot be sent
	end   *result
}

type result struct {
	job    *job
	chunk  Chunk
	rows   int  // that were handed over
	enough bool // the chunk ended early, because of their bytes
	took   time.Duration
	err    error
}

// ahead is how many parcels may wait for the loop. A source hands over at most
// about a megabyte at once; so that, and what a transaction may hold, bound
// memory (G13). While the loop commits, reading goes on.
const ahead = 16

// worker reads chunks beside the stream, one at a time, and makes records of
// their rows. What belongs together leaves in order by one channel: the end of a
// job behind its rows.
type worker struct {
	src     Snapshots
	bytes   int // of a chunk's records, which then ends
	jobs    chan *job
	parcels chan *parcel
	spare   chan *parcel
	// These belong to the loop.
	busy   bool
	keys   bool   // the last job was one of keys
	keysOf string // whose the last such one was
}

func newWorker(src Snapshots, chunkBytes int) worker {
	return worker{src: src, bytes: chunkBytes, jobs: make(chan *job, 1), parcels: make(chan *parcel, ahead), spare: make(chan *parcel, 4*ahead)}
}

func (w *worker) run(ctx context.Context) error {
	for {
		var j *job
		select {
		case j = <-w.jobs:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-time.After(j.pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		began := time.Now()
		end := w.read(ctx, j)
		end.took = time.Since(began)
		if err := w.hand(ctx, &parcel{job: j, end: end}); err != nil {
			return err
		}
	}
}

func (w *worker) hand(ctx context.Context, p *parcel) error {
	select {
	case w.parcels <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *worker) read(ctx context.Context, j *job) *result {
	end := &result{job: j}
	var sent uint32
	bytes := 0
	var scratch []byte // of all parcels, one after the other
	emit := func(changes []schemas.Change) error {
		if j.gone.Load() {
			return errVoid
		}
		p := w.empty()
		p.job, p.arena.scratch = j, scratch
		sent = p.fill(changes, sent)
		scratch, p.arena.scratch = p.arena.scratch, nil
		bytes += p.arena.size()
		failed := p.fault != nil // behind the next line the parcel is the loop's
		if err := w.hand(ctx, p); err != nil {
			return err
		}
		if failed {
			return errVoid
		}
		if end.enough = bytes >= w.bytes && j.keys == nil && len(j.form.table.Key) > 0; end.enough {
			return ErrEnough
		}
		return nil
	}
	if j.keys != nil {
		end.chunk, end.err = w.src.ReadKeys(ctx, j.form.table, j.keys, emit)
	} else {
		end.chunk, end.err = w.src.ReadChunk(ctx, j.form.table, j.after, j.limit, emit)
	}
	end.rows = int(sent)
	return end
}

// rereadHeader marks a row that was read for the sake of its key alone: no
// snapshot runs because of it, and none will be said to have ended.
const rereadHeader = "reread"

// fill makes records of rows, of whose job so many were made before, and returns
// how many there are now.
func (p *parcel) fill(changes []schemas.Change, sent uint32) uint32 {
	p.arena.made = time.Now()
	for i := range changes {
		c := &changes[i]
		sent++
		if len(p.job.form.table.Key) == 0 {
			c.Position = keyless(c.Position, sent)
		}
		p.epoch = max(p.epoch, c.Position.Epoch)
		r, err := p.arena.encode(p.job.form, c, c.After)
		if err != nil {
			p.fault = unsendable(c, err)
			break
		}
		if p.job.keys != nil {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: rereadHeader}) // a copy: those are shared
		}
	}
	return sent
}

// empty is a parcel to be filled.
func (w *worker) empty() *parcel {
	select {
	case p := <-w.spare:
		return p
	default:
		return new(parcel)
	}
}

// giveBack frees what a parcel holds. Of its records none is in use any more.
func (w *worker) giveBack(p *parcel) {
	p.arena.reset()
	p.job, p.epoch, p.fault = nil, 0, nil
	select {
	case w.spare <- p:
	default: // there are enough
	}
}
