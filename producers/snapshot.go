package producers

import (
	"errors"
	"fmt"
	"time"

	"millrace/schemas"
)

const (
	// Keys that are read again: more than these, and the table is snapshotted
	// instead. They must fit into one record, twice.
	maxRereads     = 1000
	maxRereadBytes = 128 << 10
	rereadsAtOnce  = 500

	chunkPause = 100 * time.Millisecond // after the first chunk that did not count; doubles
	chunkTries = 5

	// A chunk costs the server a read point, and that is not nothing: beside it
	// the rows of a short one are few. A long one keeps the server from forgetting
	// old rows, and keys that are to be read again wait for its end.
	chunkShort = 250 * time.Millisecond
	chunkLong  = time.Second
)

// callFor notes that the row of a new key lacks values, and must be read.
func (s *session) callFor(t *table, c *schemas.Change) {
	overflow := t.Snapshot.Running && t.Snapshot.Overflow
	raise := func() {
		t.Snapshot.Above = schemas.MaxPosition(t.Snapshot.Above, c.Position)
		t.dirty = true
	}
	// A snapshot that is raised starts over, so it would not end if every update
	// raised it.
	if overflow && !c.Reread {
		raise()
		return
	}
	canonical, err := schemas.AppendKey(nil, t.Table, c.After)
	if err != nil {
		return // without its key it cannot be sent either, and halts the table
	}
	t.dirty = true
	if i, ok := t.keys[string(canonical)]; ok {
		t.Rereads[i].Above = schemas.MaxPosition(t.Rereads[i].Above, c.Position)
		return
	}
	size := len(canonical) + t.keyBytes()
	s.waiters[t] = true
	if full := len(t.Rereads) == maxRereads || size > maxRereadBytes; full && overflow {
		raise()
		return
	} else if full {
		t.attempt++
		t.Rereads, t.keys = nil, make(map[string]int)
		t.Snapshot.restart(c.Position, true)
		return
	}
	key := make([]schemas.Cell, len(t.Table.Key))
	for i, ord := range t.Table.Key {
		key[i] = cloneCell(c.After[ord])
	}
	t.keys[string(canonical)] = len(t.Rereads)
	t.Rereads = append(t.Rereads, reread{Key: key, Above: c.Position})
}

// crowded reports whether the stream is to wait until rows have been read again.
// A source that asks for many, because its log carries only what changed, would
// else end in snapshots without end.
func (s *session) crowded() bool {
	for _, t := range s.tables {
		if !t.asked || t.halted != nil || t.Dropped || t.held {
			continue
		}
		if len(t.Rereads) >= rereadsAtOnce || t.keyBytes() >= maxRereadBytes/2 {
			return true
		}
	}
	return false
}

// keyBytes is the size of the keys of Rereads.
func (t *table) keyBytes() (n int) {
	for key := range t.keys {
		n += len(key)
	}
	return n
}

func cloneCell(c schemas.Cell) schemas.Cell {
	c.Bytes = append([]byte(nil), c.Bytes...)
	return c
}

// schedule gives the worker something to read: keys before chunks, but not for
// ever, because a log that carries only what changed calls for more at any time;
// and of keys another table's each time.
func (s *session) schedule() {
	if s.worker.busy {
		return
	}
	var keys, chunk *table
	for _, t := range s.tables { // not sorted: this is asked all the time, and they may be thousands
		if t.halted != nil || t.Dropped || t.held {
			continue
		}
		if len(t.Rereads) > 0 && (keys == nil || comesBefore(t.id, keys.id, s.worker.keysOf)) {
			keys = t
		}
		if t.Snapshot.Running && (chunk == nil || t.id < chunk.id) {
			chunk = t
		}
	}
	switch {
	case keys != nil && (chunk == nil || !s.worker.keys):
		j := &job{t: keys, form: keys.form(), attempt: keys.attempt}
		for i := range min(len(keys.Rereads), rereadsAtOnce) {
			j.keys = append(j.keys, keys.Rereads[i].Key)
		}
		s.worker.keys, s.worker.keysOf = true, keys.id
		s.give(j)
	case chunk != nil:
		s.worker.keys = false
		s.give(&job{t: chunk, form: chunk.form(), attempt: chunk.attempt, after: chunk.Snapshot.After, limit: max(chunk.chunkRows, s.o.ChunkRows)})
	}
}

// comesBefore reports whether a's turn is before b's when last has just had its own:
// their order is a circle.
func comesBefore(a, b, last string) bool {
	if (a > last) != (b > last) {
		return a > last
	}
	return a < b
}

func (s *session) give(j *job) {
	s.worker.busy = true
	s.worker.jobs <- j
}

// take sends the rows that the worker has read, and takes up what has become of
// their job.
func (s *session) take(p *parcel) error {
	j, t := p.job, p.job.t
	switch {
	case p.end != nil:
		return s.chunk(*p.end)
	case j.void() || t.halted != nil:
		j.gone.Store(true)
		s.worker.giveBack(p)
		return nil //nolint:nilerr // why the table halted is shown already
	}
	if err := s.raise(p.epoch); err != nil {
		return err
	}
	for i := range p.arena.used {
		if err := s.produce(p.arena.at(i)); err != nil {
			return err
		}
		if s.txn.overflows(s.o) {
			if err := s.commit(); err != nil {
				return err
			}
		}
	}
	// Behind the last of them: what was committed on the way has none of the rest.
	s.txn.parcels = append(s.txn.parcels, p)
	t.sent[schemas.Read].Add(float64(p.arena.used))
	t.Snapshot.Rows += int64(p.arena.used)
	if p.fault != nil {
		s.halt(t, p.fault)
	}
	return nil
}

// keyless is the position of row n of a read, from 1, in a table without a key:
// there the position alone tells rows apart. Row 0 is the read point. Both lie
// above every change that the read point covers, and below what follows it: the
// rows of one log event are fewer than half of all seqs.
func keyless(readPoint schemas.Position, n uint32) schemas.Position {
	readPoint.Seq = min(readPoint.Seq, 1<<31) + n
	return readPoint
}

// chunk takes up what became of a job. Its rows are in this transaction or an
// earlier one, so the state that says so is too.
func (s *session) chunk(r result) error {
	s.worker.busy = false
	j, t := r.job, r.job.t
	var halt *HaltError
	switch {
	case j.void() || t.halted != nil:
		return nil //nolint:nilerr // what the chunk met no longer counts
	case r.err == nil:
	case errors.As(r.err, &halt):
		if halt.Table == "" {
			return halt
		}
		s.halt(t, halt)
		return nil
	case errors.Is(r.err, ErrRewritten) || j.tries < chunkTries:
		// A rewritten table's next version is on its way, or its truncate. Any other
		// chunk may have been too long: servers keep old rows for a time.
		if !errors.Is(r.err, ErrRewritten) {
			j.limit = max(j.limit/2, s.o.ChunkRows)
		}
		j.tries++
		j.pause = max(chunkPause, min(2*j.pause, 5*time.Second))
		s.p.metrics.chunkRetries.Inc()
		s.give(j)
		return nil
	default:
		return fmt.Errorf("read rows of %s: %w", t.id, r.err)
	}
	if len(t.Table.Key) == 0 {
		r.chunk.ReadPoint = keyless(r.chunk.ReadPoint, 0)
	}
	t.dirty = true
	s.txn.wanted(s.o)
	t.Snapshot.High = schemas.MaxPosition(t.Snapshot.High, r.chunk.ReadPoint)
	if j.keys != nil {
		s.keysRead(t, j, r.chunk.ReadPoint)
		return nil
	}
	snap := &t.Snapshot
	if snap.Low.IsZero() || r.chunk.ReadPoint.Less(snap.Low) {
		snap.Low = r.chunk.ReadPoint
	}
	if !r.chunk.End {
		t.chunkRows = s.nextChunk(r)
		snap.After = make([]schemas.Cell, len(r.chunk.Last))
		for i, c := range r.chunk.Last {
			snap.After[i] = cloneCell(c)
		}
		return nil
	}
	if !snap.Above.Less(snap.Low) {
		t.attempt++
		snap.restart(snap.Above, snap.Overflow)
		return nil
	}
	if err := s.control(t, schemas.SnapshotDone, snap.Low, 0); err != nil {
		return err
	}
	*snap = snapshotState{Low: snap.Low, High: snap.High, Rows: snap.Rows}
	s.o.Log.Info("snapshot done", "source", s.o.Source, "table", t.id, "rows", snap.Rows)
	return nil
}

// nextChunk is how many rows the chunk behind one is to have. One that ended early
// because of its bytes had fewer than were asked for: the next asks for fewer, but
// not at once for as few, as wide rows may stand together.
func (s *session) nextChunk(r result) int {
	rows := r.job.limit
	switch {
	case r.took > chunkLong:
		rows /= 2
	case r.enough:
		rows = max(rows/2, r.rows)
	case r.took < chunkShort:
		rows *= 2
	}
	return min(max(rows, s.o.ChunkRows), s.o.MaxChunkRows)
}

// keysRead forgets the keys that were read above the last change that called
// for them.
func (s *session) keysRead(t *table, j *job, point schemas.Position) {
	for _, key := range j.keys {
		canonical := string(schemas.AppendKeyValues(nil, t.keyTypes, key))
		i, ok := t.keys[canonical]
		if !ok || !t.Rereads[i].Above.Less(point) {
			continue
		}
		last := len(t.Rereads) - 1
		t.Rereads[i] = t.Rereads[last]
		t.keys[string(schemas.AppendKeyValues(nil, t.keyTypes, t.Rereads[i].Key))] = i
		t.Rereads = t.Rereads[:last]
		delete(t.keys, canonical)
	}
}

// waits reports whether the table's watermarks must wait: rows that were
// called for are not there yet, or the stream has not passed the point at which
// they were read.
func (s *session) waits(t *table) bool {
	return t.halted != nil || t.Dropped || t.Snapshot.Running || len(t.Rereads) > 0 || s.Complete.Pos.Less(t.Snapshot.High)
}
