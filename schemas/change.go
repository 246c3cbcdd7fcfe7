package schemas

import "math"

// CellKind says what a Cell holds.
type CellKind uint8

// A Cell's value is not carried, null, or present. Missing, null and default
// are three things (G10).
const (
	Unset   CellKind = iota // the log did not carry the value
	Null                    // the value is null
	Present                 // Int or Bytes holds the value, by the column's Kind
)

// Cell is one value. Which field holds it is said at each Kind; the other is
// zero. Bytes is borrowed from whoever made the Row.
type Cell struct {
	Kind  CellKind
	Int   int64
	Bytes []byte
}

// IntCell holds v: an integer, a bool, a date or a time.
func IntCell(v int64) Cell { return Cell{Kind: Present, Int: v} }

// FloatCell holds v.
func FloatCell(v float64) Cell { return Cell{Kind: Present, Int: int64(math.Float64bits(v))} }

// BytesCell holds b without copying it.
func BytesCell(b []byte) Cell { return Cell{Kind: Present, Bytes: b} }

// NullCell holds null.
func NullCell() Cell { return Cell{Kind: Null} }

// Float is the value of a Present cell of kind Float.
func (c Cell) Float() float64 { return math.Float64frombits(uint64(c.Int)) }

// Row holds one Cell per column of the Table's version, by ordinal.
type Row []Cell

// Op is what a change did.
type Op byte

// The operations. The last two are control records, sent to every partition;
// a truncate too is sent to every partition.
const (
	Create       Op = 'c'
	Update       Op = 'u'
	Delete       Op = 'd'
	Read         Op = 'r' // a row that the snapshot read
	Truncate     Op = 't'
	Watermark    Op = 'w' // nothing at or below its position follows but repeats
	SnapshotDone Op = 's' // its position is the lowest read point of the snapshot that ended
)

func (o Op) String() string { return string(rune(o)) }

// IsData reports whether the change is about one row.
func (o Op) IsData() bool { return o == Create || o == Update || o == Delete || o == Read }

// IsControl reports whether the change goes to every partition of its topic.
func (o Op) IsControl() bool { return o == Truncate || o == Watermark || o == SnapshotDone }

// ParseOp reads the text of an Op.
func ParseOp(text []byte) (Op, bool) {
	if len(text) != 1 {
		return 0, false
	}
	switch o := Op(text[0]); o {
	case Create, Update, Delete, Read, Truncate, Watermark, SnapshotDone:
		return o, true
	}
	return 0, false
}

// Change is one change of one row, or a control record. It and all that it
// points to may be reused by its maker as soon as the maker is called again.
//
// A key change is not an Update: its maker sends a Delete of the old key and a
// Create of the new one, in that order, each naming the other in OtherKey.
type Change struct {
	Table    *Table
	Op       Op
	Position Position
	TsUs     int64 // commit time at the source, microseconds since 1970; for w: complete up to it
	// Since is the position below which this table's values may have changed
	// without an event; set on an Update, or on a Create with unset columns.
	Since  Position
	After  Row // nil for d and control records
	Before Row // nil if the log does not carry it; columns that it does not carry are Unset
	// OtherKey is the row that holds the other key of a key change: the new
	// key beside a Delete, the old key beside a Create. Only key columns count.
	OtherKey Row
	// Reread says that columns which are unset have changed as well: the row is to
	// be read again. A source that sets it on a table's update sets it on each of
	// the table's updates that leave columns out: one without it would pass on, as
	// of its own position, the old values that the reread is to replace, and a row
	// read below that position would come too late.
	Reread  bool
	Token   Token  // where in the log it stands, for people; may be empty
	TxID    string // the source's transaction, may be empty
	TxOrder int64  // ordinal of the change within the transaction, from 1; 0 if unknown
}

// Token is what a source needs to resume. It is opaque to all but the source
// that made it. The empty token is the beginning.
type Token string
