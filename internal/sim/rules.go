// Package sim explores the rules of capture and load by seeded random
// schedules: a source with transactions, snapshots, DDL and failovers, a
// producer that crashes, a core table that is loaded in any batches, rewound,
// taken over and swept. After every step each row must be the source's row at
// the greater of complete_through and the row's position (G2), and at rest any
// cut and any replay must give the same table.
//
// Rows are joined by package register, the code that the MERGE is tested
// against. Every rule can be left out, and a test shows that each is needed.
package sim

import (
	"fmt"

	"millrace/internal/register"
	"millrace/schemas"
)

const cols = 2

// Pos is a position in 64 bits: epoch, major, minor, seq in 8, 24, 24 and 8.
type Pos uint64

func at(epoch, major, minor, seq int) Pos {
	return Pos(epoch)<<56 | Pos(major)<<32 | Pos(minor)<<8 | Pos(seq)
}

func (p Pos) position() schemas.Position {
	return schemas.Position{Epoch: uint32(p >> 56), Major: uint64(p >> 32 & 0xffffff), Minor: uint64(p >> 8 & 0xffffff), Seq: uint32(p & 0xff)}
}

func fromPosition(p schemas.Position) Pos {
	return Pos(p.Epoch)<<56 | Pos(p.Major)<<32 | Pos(p.Minor)<<8 | Pos(p.Seq)
}

func (p Pos) String() string {
	return fmt.Sprintf("%d/%d/%d/%d", p>>56, p>>32&0xffffff, p>>8&0xffffff, p&0xff)
}

// Change is one change or control record, or the fold of several changes of
// one key.
type Change struct {
	Op   schemas.Op
	Key  int
	Pos  Pos
	Born Pos
	V    [cols]int
	At   [cols]Pos
}

// Row is a stored row.
type Row struct {
	Pos   Pos
	Born  Pos
	Dead  bool
	V     [cols]int
	Known [cols]bool
}

// Rules is the set of rules that are left out; zero is the design.
type Rules uint64

// The rules.
const (
	Born              Rules = 1 << iota // fills and inherited values come from the key's life
	Fill                                // a late change fills what is not known
	CarryPositions                      // a fold keeps each column's position
	DeadKnowsNothing                    // a delete ends what is known: a key change does not inherit it
	SinceDDL                            // a row-changing DDL raises since
	SinceGap                            // a gap raises since
	SinceOnly                           // an epoch without a gap does not raise since
	TruncateHorizon                     // t raises the horizon
	SweepHorizon                        // the sweep raises the horizon
	SnapshotHorizon                     // s raises the horizon
	LowestF                             // s carries the lowest read point
	SnapshotAll                         // s counts when every partition has it
	SnapshotWaits                       // and no dead letter is left
	WatermarkAll                        // complete_through is the least of the partitions
	WatermarkWaits                      // no w between the call for a snapshot and its s
	WatermarkWaitsKey                   // nor while a key is to be read again
	WatermarkHigh                       // nor before the stream has passed the read points
	RereadKey                           // a key change without old image reads the key again
	RereadAbove                         // at a read point above the change that calls for it
	ReadPoint                           // a MySQL read point has the binlog position
	ReadPointAbove                      // and lies above the changes that end there
	Filenode                            // a chunk across a rewrite is thrown away
	RestartOnDDL                        // a row-changing DDL restarts the snapshot
	Fence                               // a load needs the head's epoch
	EpochFirst                          // a new epoch is checkpointed before its first record
	PrevCheckpoint                      // a torn tail resumes from the checkpoint before
	ClipOffsets                         // an offset above the end of a torn log goes back to it
	BlockKey                            // changes behind a dead letter of their key wait
	CompleteWaits                       // complete_through, and so the sweep, stands still behind a dead letter
	lastRule
)

func (r Rules) no(rule Rules) bool { return r&rule != 0 }

// Fold is register.Fold under the rules.
func (r Rules) Fold(x, y Change) Change {
	if r.no(Born) {
		x.Born, y.Born = 0, 0
	}
	out := fromRegister(x.Key, register.Fold(x.register(), y.register()))
	for i := range out.At {
		if r.no(CarryPositions) && out.At[i] > 0 {
			out.At[i] = out.Pos
		}
	}
	return out
}

// Apply is register.Apply under the rules.
func (r Rules) Apply(row Row, found bool, horizon Pos, c Change) (Row, bool) {
	if r.no(Born) {
		c.Born = 0
	}
	above := !found || c.Pos > row.Pos
	if r.no(Fill) && !above {
		return row, false
	}
	dead := row.Dead
	if above {
		dead = c.Op == schemas.Delete
	}
	if r.no(DeadKnowsNothing) {
		row.Dead, c.Op = false, schemas.Update
	}
	next, wrote := register.Apply(row.register(), found, horizon.position(), c.register())
	if !wrote {
		return row, false
	}
	out := Row{Pos: fromPosition(next.Pos), Born: fromPosition(next.Born), Dead: next.Deleted}
	if r.no(DeadKnowsNothing) {
		out.Dead = dead
	}
	for i, cell := range next.V {
		out.V[i], out.Known[i] = int(cell.Int), cell.Kind != schemas.Unset
	}
	return out, true
}

func (c Change) register() register.Change {
	out := register.Change{
		Op: c.Op, Pos: c.Pos.position(), Born: c.Born.position(),
		V: make(schemas.Row, cols), At: make([]schemas.Position, cols),
	}
	for i, p := range c.At {
		if out.At[i] = p.position(); p > 0 {
			out.V[i] = schemas.IntCell(int64(c.V[i]))
		}
	}
	return out
}

func fromRegister(key int, c register.Change) Change {
	out := Change{Op: c.Op, Key: key, Pos: fromPosition(c.Pos), Born: fromPosition(c.Born)}
	for i, p := range c.At {
		out.At[i], out.V[i] = fromPosition(p), int(c.V[i].Int)
	}
	return out
}

func (row Row) register() register.Row {
	out := register.Row{Pos: row.Pos.position(), Born: row.Born.position(), Deleted: row.Dead, V: make(schemas.Row, cols)}
	for i, known := range row.Known {
		if known {
			out.V[i] = schemas.IntCell(int64(row.V[i]))
		}
	}
	return out
}
