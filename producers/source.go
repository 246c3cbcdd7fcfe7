// Package producers turns the log of a database into change events on Kafka.
//
// A source (a folder below this one) reads its log and its rows; the Producer
// here does the rest the same way for all of them: encode, one Kafka
// transaction that carries changes and the checkpoint that follows them, and
// only then the acknowledgement (G1).
package producers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"millrace/schemas"
)

// Batch is what a source has read next. Everything in it is borrowed until the
// next call of Next.
type Batch struct {
	// Tables are versions of tables that are new or differ from what Open was
	// given. Each takes effect before Changes: a source ends a batch before the
	// first change of a new version, and names the version in the next batch.
	Tables  []TableVersion
	Changes []schemas.Change // in the order of the log, positions rising
	// Resume continues behind Changes. It is empty inside a transaction of the
	// source: the checkpoint then stays where it is, and after a crash the
	// changes come again with the same positions (G3).
	Resume schemas.Token
	// Complete says that nothing at or below its Pos follows but repeats: the
	// last completed transaction, or, when all of the log was read, the point up
	// to which it was read. Its Time is the server's clock, read when the log was
	// drained to Pos, and zero unless it was.
	Complete schemas.Progress
	// Retained is how many bytes of its log the server keeps for this source;
	// 0: as before, or the server does not keep its log for anyone.
	Retained int64
}

// TableVersion is a version of a table as it is at some place in the log.
type TableVersion struct {
	Table *schemas.Table
	State []byte // what the source wants back at Open to recognise this version; opaque JSON
	// Since is not zero if rows may have changed without a change event, by DDL
	// or by a gap: values from below it no longer hold, and the table is
	// snapshotted again.
	Since schemas.Position
	// Dropped says that the table is gone. Its topic and core table stay. A source
	// says it again when it is opened, or halts the table, while it is asked for it.
	Dropped bool
}

// Start is where a source resumes.
type Start struct {
	Epoch  uint32
	Token  schemas.Token           // empty: from now on, with a snapshot of every table
	Last   schemas.Position        // of the checkpoint; what lies at or below it was sent
	Tables map[string]TableVersion // by ID, as of Token
}

// Source reads one database. Next, Ack and Close are called from one goroutine;
// the methods of Snapshots from others.
type Source interface {
	// Next blocks until there is something to say and returns it. An idle source
	// returns, about once a second, a Batch with only Resume and Complete.
	Next(ctx context.Context) (Batch, error)

	// Ack says that everything up to the token is durable in Kafka: the
	// database may forget it. It may return before the database knows (G1).
	Ack(ctx context.Context, resume schemas.Token) error

	Snapshots

	Close() error
}

// Snapshots reads rows, beside the stream.
type Snapshots interface {
	// ReadChunk reads the rows of t whose keys lie above after, in key order, at
	// most limit of them; after is nil for the first chunk, else the key columns'
	// cells in key order. A table without a key is read whole.
	//
	// The rows are handed to emit in batches, as changes with op r whose
	// Position is the chunk's read point; emit may block, and what it is handed
	// is reused when it returns. If the table was rewritten between the read point
	// and the last row, the error is ErrRewritten and the chunk counts for
	// nothing.
	ReadChunk(ctx context.Context, t *schemas.Table, after []schemas.Cell, limit int, emit func([]schemas.Change) error) (Chunk, error)

	// ReadKeys reads the rows of the given keys, like a chunk. A key that has no
	// row emits nothing.
	ReadKeys(ctx context.Context, t *schemas.Table, keys [][]schemas.Cell, emit func([]schemas.Change) error) (Chunk, error)
}

// Chunk says what ReadChunk has read.
type Chunk struct {
	ReadPoint schemas.Position // every change at or below it is in the rows, and none above
	Last      []schemas.Cell   // the key of the last row, in key order
	End       bool             // there are no rows above Last
}

// ErrRewritten is the reason when a chunk's table was rewritten or truncated
// while it was read: its rows then look empty without an error.
var ErrRewritten = errors.New("table was rewritten while a chunk of it was read")

// HaltError stops a source, or one table of it, until a person has acted. It
// says what to do (G12).
type HaltError struct {
	Table string // ID; empty for the whole source
	Err   error
	Hint  string
}

func (e *HaltError) Error() string {
	what := "source"
	if e.Table != "" {
		what = "table " + e.Table
	}
	return fmt.Sprintf("%s halted: %v: %s", what, e.Err, e.Cure())
}

// BeginAgain is the cure for a log that does not continue where it was left, or is
// another one: Options.Epoch, in the words of the configuration.
const BeginAgain = "raise `epoch` of the source in millrace.yaml by one (it is 1 where none stands there), and every table is snapshotted again"

// Cure is the hint and what makes it count: what has halted is taken up again
// when the process starts, and not before.
func (e *HaltError) Cure() string {
	if strings.Contains(e.Hint, "restart millrace") {
		return e.Hint
	}
	return e.Hint + "; then restart millrace"
}

func (e *HaltError) Unwrap() error { return e.Err }

// Env is what a source gets from its producer.
type Env struct {
	Source string // its name in the configuration
	Prefix string // of topics, slot and publication
	Topic  func(schema, table string, generation int) string
	Halt   func(*HaltError) // reports a table that cannot be captured; the others go on
	Now    func() time.Time
	Log    *slog.Logger // never nil
}

// Config is a source's section of the configuration. The section is the
// constructor.
type Config interface {
	// Validate reports every fault, joined.
	Validate() error
	// Open connects, checks what the source needs, and resumes. Faults that a
	// person must cure are HaltErrors.
	Open(ctx context.Context, from Start, env Env) (Source, error)
}
