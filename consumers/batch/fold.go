package batch

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"millrace/internal/warehouse"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// Poison says which change of a batch cannot be decoded, and so goes to the
// dead-letter topic.
type Poison struct {
	Partition int32
	Offset    int64
	Err       error
}

func (p *Poison) Error() string {
	return fmt.Sprintf("decode record %d of partition %d: %v", p.Offset, p.Partition, p.Err)
}

func (p *Poison) Unwrap() error { return p.Err }

// Load is what a batch is to one core table.
type Load struct {
	Rows   warehouse.Rows
	Counts schemas.RowCounts // Read, Folded and Quarantined
	Ranges []schemas.Range
	Marks  map[int32]warehouse.Mark

	PosMin, PosMax, Truncate schemas.Position

	Snapshotting bool
}

// Load is the part of the batch at or above the offsets that the table has, for
// a table with the given columns. It stays valid until Reset.
func (b *Batch) Load(topic string, t warehouse.CoreTable, have map[int32]int64) (*Load, error) {
	b.place()
	r := &rows{batch: b, table: t, have: have, all: true}
	for _, s := range b.schemas {
		bound, converts, err := bind(t.Columns, t.Key, s)
		if err != nil {
			return nil, err
		}
		r.bindings = append(r.bindings, bound)
		r.converts = r.converts || converts
	}
	r.masked = make([]int, 0, len(t.Columns))
	r.at = make([]schemas.Position, len(t.Columns))
	r.missing = make([]bool, len(t.Columns))
	l := &Load{Rows: r, Marks: b.marks, Truncate: b.truncate}
	for p, s := range b.ranges {
		r.all = r.all && have[p] <= s.from
		if s.to > have[p] {
			l.Ranges = append(l.Ranges, schemas.Range{Topic: topic, Partition: p, From: max(s.from, have[p]), To: s.to})
		}
	}
	slices.SortFunc(l.Ranges, func(x, y schemas.Range) int { return int(x.Partition) - int(y.Partition) })
	for _, p := range b.lost {
		if p.offset >= have[p.partition] {
			l.Counts.Read++
			l.Counts.Quarantined++
		}
	}
	l.Counts.Folded = r.count(l) - r.staged()
	r.Reset()
	return l, nil
}

// count adds up what the table gets, and returns how many changes it is.
func (r *rows) count(l *Load) (n int64) {
	b := r.batch
	if r.all && !b.dropped {
		n = int64(b.entries.len())
		l.Counts.Read += n
		l.PosMin, l.PosMax, l.Snapshotting = b.posMin, b.posMax, b.snapshotting
		return n
	}
	for _, e := range b.entries.all {
		if r.has(e) {
			continue
		}
		l.Counts.Read++
		if e.dropped {
			l.Counts.Quarantined++
			continue
		}
		n++
		if l.PosMin.IsZero() || e.pos.Less(l.PosMin) {
			l.PosMin = e.pos
		}
		l.PosMax = schemas.MaxPosition(l.PosMax, e.pos)
		l.Snapshotting = l.Snapshotting || e.op == schemas.Read && !e.reread
	}
	return n
}

// staged is how many rows there will be.
func (r *rows) staged() (n int64) {
	b := r.batch
	if r.all && !b.dropped && r.table.Mode != schemas.ModeAppend {
		return int64(len(b.heads))
	}
	if r.all && !b.dropped && !b.mixed {
		return int64(b.entries.len())
	}
	r.Reset()
	for range b.heads {
		n += int64(len(r.stagedOf()))
	}
	return n
}

// has reports whether the table has the change already.
func (r *rows) has(e *entry) bool {
	return !r.all && e.offset < r.have[e.partition]
}

// rows yields the staged rows of a batch.
type rows struct {
	batch    *Batch
	table    warehouse.CoreTable
	have     map[int32]int64
	bindings []*binding // by the ordinal of the schema
	converts bool
	all      bool // the table has nothing of the batch yet

	head   int      // the next of batch.heads
	group  []*entry // of the current head, what is left of it, newest position first
	folded warehouse.Folded

	at      []schemas.Position
	missing []bool
	masked  []int
	cells   []schemas.Cell
	wrap    converter
}

func (r *rows) Reset() { r.head, r.group = 0, r.group[:0] }

// stagedOf moves to the next key and returns the changes that become rows of
// the stage: in ModeAppend each, else the newest.
func (r *rows) stagedOf() []*entry {
	r.group = r.group[:0]
	for n := r.batch.heads[r.head]; n >= 0; {
		e := r.batch.entries.at(n)
		if !e.dropped && !r.has(e) {
			r.group = append(r.group, e)
		}
		n = e.prev
	}
	r.head++
	if len(r.group) > 1 && r.batch.mixed {
		slices.SortStableFunc(r.group, func(x, y *entry) int { return y.pos.Compare(x.pos) })
		r.group = slices.CompactFunc(r.group, func(x, y *entry) bool { return x.pos == y.pos })
	}
	if r.table.Mode != schemas.ModeAppend && len(r.group) > 1 {
		return r.group[:1]
	}
	return r.group
}

func (r *rows) Next(sink warehouse.Sink) (*warehouse.Folded, error) {
	if r.table.Mode == schemas.ModeAppend {
		return r.nextChange(sink)
	}
	for r.head < len(r.batch.heads) {
		if len(r.stagedOf()) == 0 {
			continue
		}
		return &r.folded, r.fold(sink)
	}
	return nil, io.EOF
}

// nextChange yields the changes of a key oldest first.
func (r *rows) nextChange(sink warehouse.Sink) (*warehouse.Folded, error) {
	for len(r.group) == 0 {
		if r.head == len(r.batch.heads) {
			return nil, io.EOF
		}
		r.stagedOf()
	}
	e := r.group[len(r.group)-1]
	r.group = r.group[:len(r.group)-1]
	r.folded = warehouse.Folded{Op: e.op, Pos: e.pos, Born: e.born(), TsUs: e.tsUs}
	image := e.after()
	if e.op == schemas.Delete {
		image = e.before()
	}
	if image == nil {
		return &r.folded, r.keyOf(e, sink)
	}
	if len(e.unset()) > 0 {
		r.folded.At = r.carries(e)
	}
	return &r.folded, r.decode(e, image, r.bindings[e.schema].to, sink)
}

// carries is where each column was carried of a change that leaves some out (G10).
func (r *rows) carries(e *entry) []schemas.Position {
	for col := range r.at {
		r.at[col] = e.pos
	}
	for _, ord := range e.unset() {
		if col := r.bindings[e.schema].to[ord]; col >= 0 {
			r.at[col] = schemas.Position{}
		}
	}
	return r.at
}

// fold joins the changes of r.group as register.Fold does, but decodes the
// newest alone, and older ones only while columns are missing.
func (r *rows) fold(sink warehouse.Sink) error {
	newest := r.group[0]
	r.folded = warehouse.Folded{Op: newest.op, Pos: newest.pos, TsUs: newest.tsUs}
	for _, e := range r.group {
		r.folded.Born = schemas.MaxPosition(r.folded.Born, e.born())
	}
	if newest.op == schemas.Delete {
		return r.keyOf(newest, sink)
	}
	if newest.after() == nil {
		return r.poison(newest, errors.New("the change has no row"))
	}
	if len(newest.unset()) == 0 {
		return r.decode(newest, newest.after(), r.bindings[newest.schema].to, sink)
	}
	missing := len(r.at)
	for i := range r.at {
		r.at[i], r.missing[i] = schemas.Position{}, true
	}
	for _, e := range r.group {
		if missing == 0 || e.pos.Less(r.folded.Born) {
			break
		}
		if e.op == schemas.Delete || e.to == 0 {
			continue
		}
		to, found := r.carried(e)
		if err := r.decode(e, e.after(), to, sink); err != nil {
			return err
		}
		missing -= found
	}
	r.folded.At = r.at
	return nil
}

// carried is the binding of e's columns that e carries and that are missing so
// far; it marks them as carried at e's position. A column that e's schema does
// not know did not exist at its position: it is null there.
func (r *rows) carried(e *entry) (to []int, found int) {
	bound, unset := r.bindings[e.schema], e.unset()
	r.masked = append(r.masked[:0], bound.to...)
	for _, ord := range unset {
		r.masked[ord] = -1
	}
	isUnset := func(col int) bool {
		return slices.ContainsFunc(unset, func(ord int) bool { return bound.to[ord] == col })
	}
	for i, col := range r.masked {
		if col >= 0 && !r.missing[col] {
			r.masked[i] = -1
		}
	}
	for col := range r.missing {
		if r.missing[col] && !isUnset(col) {
			r.missing[col], r.at[col] = false, e.pos
			found++
		}
	}
	return r.masked, found
}

func (r *rows) decode(e *entry, image []byte, to []int, sink warehouse.Sink) error {
	if r.converts {
		r.wrap.sink, r.wrap.convert = sink, r.bindings[e.schema].convert
		sink = &r.wrap
	}
	if err := r.batch.schemas[e.schema].Decoder.Row(image, to, sink); err != nil {
		return r.poison(e, err)
	}
	return nil
}

// keyOf writes the key's columns alone.
func (r *rows) keyOf(e *entry, sink warehouse.Sink) error {
	bound := r.bindings[e.schema]
	if r.converts {
		r.wrap.sink, r.wrap.convert = sink, bound.convert
		sink = &r.wrap
	}
	keys := r.batch.keys[e.keys]
	if keys == nil {
		return nil
	}
	_, body, err := avro.SplitHeader(e.rawKey)
	if err == nil {
		r.cells, err = keys.Cells(r.cells[:0], body)
	}
	if err != nil {
		return r.poison(e, err)
	}
	for i, cell := range r.cells {
		col := bound.key[i]
		switch kind := r.table.Columns[col].Type.Kind; {
		case cell.Kind != schemas.Present:
			sink.Null(col)
		case cell.Bytes != nil || kind.InBytes() && !r.convertsInt(bound, col):
			sink.Bytes(col, cell.Bytes)
		case kind == schemas.Float:
			sink.Float(col, cell.Float())
		default:
			sink.Int(col, cell.Int)
		}
	}
	return nil
}

func (r *rows) convertsInt(b *binding, col int) bool { return b.convert[col].fromInt }

func (r *rows) poison(e *entry, err error) error {
	return &Poison{Partition: e.partition, Offset: e.offset, Err: err}
}
