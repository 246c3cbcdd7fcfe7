package batch

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"millrace/internal/warehouse"
	"millrace/schemas"
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
	r := &rows{batch: b, table: t, have: have, bindings: map[*Schema]*binding{}}
	for _, s := range b.Schemas() {
		bound, converts, err := bind(t.Columns, t.Key, s)
		if err != nil {
			return nil, err
		}
		r.bindings[s] = bound
		r.converts = r.converts || converts
	}
	r.masked = make([]int, 0, len(t.Columns))
	r.at = make([]schemas.Position, len(t.Columns))
	r.missing = make([]bool, len(t.Columns))
	l := &Load{Rows: r, Marks: b.marks, Truncate: b.truncate}
	for p, s := range b.ranges {
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
	for i := range b.entries {
		e := &b.entries[i]
		if e.record.Offset < have[e.record.Partition] {
			continue
		}
		l.Counts.Read++
		if e.dropped {
			l.Counts.Quarantined++
			continue
		}
		if l.PosMin.IsZero() || e.pos.Less(l.PosMin) {
			l.PosMin = e.pos
		}
		l.PosMax = schemas.MaxPosition(l.PosMax, e.pos)
		l.Snapshotting = l.Snapshotting || e.op == schemas.Read && !e.reread
	}
	staged := int64(0)
	for range b.heads {
		staged += int64(len(r.stagedOf()))
	}
	r.Reset()
	l.Counts.Folded = l.Counts.Read - l.Counts.Quarantined - staged
	return l, nil
}

// rows yields the staged rows of a batch.
type rows struct {
	batch    *Batch
	table    warehouse.CoreTable
	have     map[int32]int64
	bindings map[*Schema]*binding
	converts bool

	head   int      // the next of batch.heads
	group  []*entry // of the current head, what is left of it, newest position first
	folded warehouse.Folded

	at      []schemas.Position
	missing []bool
	masked  []int
	wrap    converter
}

func (r *rows) Reset() { r.head, r.group = 0, r.group[:0] }

// stagedOf moves to the next key and returns the changes that become rows of
// the stage: in ModeAppend each, else the newest.
func (r *rows) stagedOf() []*entry {
	r.group = r.group[:0]
	for n := r.batch.heads[r.head]; n >= 0; n = r.batch.entries[n].prev {
		if e := &r.batch.entries[n]; !e.dropped && e.record.Offset >= r.have[e.record.Partition] {
			r.group = append(r.group, e)
		}
	}
	r.head++
	if len(r.group) > 1 {
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
	image := e.after
	if e.op == schemas.Delete {
		image = e.before
	}
	if image == nil {
		return &r.folded, r.keyOf(e, sink)
	}
	return &r.folded, r.decode(e, image, r.bindings[e.schema].to, sink)
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
	if newest.after == nil {
		return r.poison(newest, errors.New("the change has no row"))
	}
	if len(newest.unset) == 0 {
		return r.decode(newest, newest.after, r.bindings[newest.schema].to, sink)
	}
	missing := len(r.at)
	for i := range r.at {
		r.at[i], r.missing[i] = schemas.Position{}, true
	}
	for _, e := range r.group {
		if missing == 0 || e.pos.Less(r.folded.Born) {
			break
		}
		if e.op == schemas.Delete || e.after == nil {
			continue
		}
		to, found := r.carried(e)
		if err := r.decode(e, e.after, to, sink); err != nil {
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
	bound := r.bindings[e.schema]
	r.masked = append(r.masked[:0], bound.to...)
	for _, ord := range e.unset {
		r.masked[ord] = -1
	}
	unset := func(col int) bool {
		return slices.ContainsFunc(e.unset, func(ord int) bool { return bound.to[ord] == col })
	}
	for i, col := range r.masked {
		if col >= 0 && !r.missing[col] {
			r.masked[i] = -1
		}
	}
	for col := range r.missing {
		if r.missing[col] && !unset(col) {
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
	if err := e.schema.Decoder.Row(image, to, sink); err != nil {
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
	for i, cell := range e.keyCells {
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
	return &Poison{Partition: e.record.Partition, Offset: e.record.Offset, Err: err}
}
