package producers

import (
	"context"
	"errors"
	"time"

	"millrace/schemas"
)

// errVoid ends the reading of a chunk that no longer counts.
var errVoid = errors.New("the snapshot has started over")

// job is one chunk to be read, or the keys of one table.
type job struct {
	t       *table
	version *schemas.Table
	attempt int // of the table's snapshot; if that has started over, the job is void
	pause   time.Duration
	after   []schemas.Cell
	limit   int
	keys    [][]schemas.Cell // if not nil, these are read
	tries   int
	sent    uint32 // rows of a table without a key, so far; belongs to the loop
}

func (j *job) void() bool { return j.attempt != j.t.attempt }

// rows are some of a job's; they are borrowed until done is answered.
type rows struct {
	job     *job
	changes []schemas.Change
	done    chan error
}

type result struct {
	job   *job
	chunk Chunk
	err   error
}

// worker reads chunks beside the stream, one at a time. That it waits until
// the loop has taken its rows is what bounds memory (G13).
type worker struct {
	src     Snapshots
	jobs    chan *job
	rows    chan rows
	results chan result
	// These belong to the loop.
	busy   bool
	keys   bool   // the last job was one of keys
	keysOf string // whose the last such one was
}

func newWorker(src Snapshots) worker {
	return worker{src: src, jobs: make(chan *job, 1), rows: make(chan rows), results: make(chan result)}
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
		chunk, err := w.read(ctx, j)
		select {
		case w.results <- result{j, chunk, err}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *worker) read(ctx context.Context, j *job) (Chunk, error) {
	done := make(chan error, 1)
	emit := func(changes []schemas.Change) error {
		select {
		case w.rows <- rows{j, changes, done}:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if j.keys != nil {
		return w.src.ReadKeys(ctx, j.version, j.keys, emit)
	}
	return w.src.ReadChunk(ctx, j.version, j.after, j.limit, emit)
}
