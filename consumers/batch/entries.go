package batch

import "millrace/schemas"

// entry is a change inside a batch. There are many, and the collector looks at
// every pointer: so it has few, and is small.
type entry struct {
	value  []byte
	rawKey []byte // the record's
	key    []byte // canonical
	rare   *rare  // nil for most
	pos    schemas.Position
	offset int64
	tsUs   int64
	// The new row is value[from:to]; there is none if to is zero.
	from, to  uint32
	partition int32
	prev      int32 // the change of the same key before it, or -1
	schema    int32 // of Batch.schemas
	keys      int32 // of Batch.keys
	op        schemas.Op
	dropped   bool // quarantined after it was added
	reread    bool
}

func (e *entry) record() Record {
	return Record{Partition: e.partition, Offset: e.offset, Key: e.rawKey, Value: e.value}
}

// after is the new row, nil if there is none.
func (e *entry) after() []byte {
	if e.to == 0 {
		return nil
	}
	return e.value[e.from:e.to]
}

// rare is what few changes have.
type rare struct {
	since  schemas.Position
	unset  []int
	before []byte
}

func (e *entry) born() schemas.Position {
	switch {
	case e.op == schemas.Create, e.op == schemas.Delete:
		return e.pos
	case e.op == schemas.Update && e.rare != nil:
		return e.rare.since
	}
	return schemas.Position{}
}

func (e *entry) unset() []int {
	if e.rare == nil {
		return nil
	}
	return e.rare.unset
}

func (e *entry) before() []byte {
	if e.rare == nil {
		return nil
	}
	return e.rare.before
}

const (
	chunkBits    = 6
	chunkEntries = 1 << chunkBits
)

// entries is a list that never moves what it holds: it grows by chunks.
type entries struct {
	chunks [][]entry
	n      int
}

func (l *entries) len() int { return l.n }

func (l *entries) at(i int32) *entry { return &l.chunks[i>>chunkBits][i&(chunkEntries-1)] }

// add returns a new last entry, to be written whole.
func (l *entries) add() *entry {
	if l.n>>chunkBits == len(l.chunks) {
		l.chunks = append(l.chunks, make([]entry, chunkEntries))
	}
	l.n++
	return l.at(int32(l.n - 1)) //nolint:gosec // a batch holds far fewer
}

// all yields the entries in order of arrival.
func (l *entries) all(yield func(int32, *entry) bool) {
	for i := range int32(l.n) { //nolint:gosec // a batch holds far fewer
		if !yield(i, l.at(i)) {
			return
		}
	}
}

// reset forgets the entries, and keeps as many chunks as were used for what comes
// next (G13). They refer to nothing any more.
func (l *entries) reset() {
	used := (l.n + chunkEntries - 1) >> chunkBits
	clear(l.chunks[used:])
	l.chunks = l.chunks[:used]
	for i, c := range l.chunks {
		clear(c[:min(l.n-i<<chunkBits, chunkEntries)])
	}
	l.n = 0
}
