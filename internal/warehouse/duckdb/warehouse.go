// Package duckdb keeps core tables in one DuckDB file. It is the only home of
// the DuckDB driver.
//
// It promises what warehouse.Loader says, within one process: DuckDB lets one
// process at a time have the file open for writing. What a load has committed
// survives the death of the process, and every open read sees one state.
package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	dk "github.com/duckdb/duckdb-go/v2"
	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/fault"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

var _ warehouse.Loader = (*Warehouse)(nil)

// FileName is the name of the warehouse's file inside the data folder.
const FileName = "warehouse.duckdb"

// Options are what Open can be told; the zero value is right for a laptop.
type Options struct {
	MemoryLimit string // as DuckDB writes it, such as 4GB; empty: DuckDB's default, 80 % of the memory
	Threads     int    // zero: one per core
	// Writers is how many loads may run at the same time; more wait. Each holds
	// a connection and a stage. Zero: 4.
	Writers int
	// Readers is how many queries may run at the same time. Zero: 8.
	Readers int
	// CheckpointSize is the size in bytes of the write-ahead log above which a
	// commit makes a checkpoint, if no read is open. Zero: 64 MiB.
	CheckpointSize int64
	// WALLimit is the size in bytes of the write-ahead log above which new reads
	// wait for a checkpoint: a read that is open keeps the log from being
	// truncated, and overlapping reads would keep it so for ever. Zero: 128 MiB.
	WALLimit int64
	// CheckpointWait is how long new reads wait for the open ones to end, and
	// with them the checkpoint; then it is put off. Zero: 10 s.
	CheckpointWait time.Duration

	Registerer prometheus.Registerer // nil: no metrics
	Logger     *slog.Logger          // nil: silent
	Fault      fault.Hook            // for tests
}

func (o Options) withDefaults() Options {
	if o.Writers <= 0 {
		o.Writers = 4
	}
	if o.Readers <= 0 {
		o.Readers = 8
	}
	if o.CheckpointSize <= 0 {
		o.CheckpointSize = 64 << 20
	}
	if o.WALLimit <= 0 {
		o.WALLimit = 128 << 20
	}
	if o.CheckpointWait <= 0 {
		o.CheckpointWait = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Warehouse is an open DuckDB file. Its methods may be called at the same time.
type Warehouse struct {
	opts    Options
	path    string
	dialect *sqlgen.Dialect
	db      *sql.DB // writers
	reads   *sql.DB // each query in a read-only transaction of its own
	gate    *gate
	metrics *metrics

	stop context.CancelFunc
	done sync.WaitGroup // the checkpointer
	grow chan struct{}  // the write-ahead log is above its limit

	turns  chan struct{} // of derived tables
	needs  neededOf
	ddl    sync.Mutex // one definition at a time
	mu     sync.Mutex // tables
	tables map[string]*table
}

// Open opens or makes the file at path. Close it: the last checkpoint is made
// then, and the file is free for another process.
func Open(ctx context.Context, path string, opts Options) (*Warehouse, error) {
	opts = opts.withDefaults()
	w := &Warehouse{
		opts: opts, path: path, dialect: sqlgen.DuckDB(), gate: newGate(),
		grow: make(chan struct{}, 1), turns: make(chan struct{}, maxTurns), tables: map[string]*table{},
		needs: neededOf{taken: map[sqlgen.Name]takenNeeds{}},
	}
	var err error
	if w.metrics, err = newMetrics(opts.Registerer); err != nil {
		return nil, fmt.Errorf("register metrics of warehouse %s: %w", path, err)
	}
	connector, err := dk.NewConnector(path, w.initConn)
	if err != nil {
		return nil, fmt.Errorf("open warehouse %s: %w", path, held(err))
	}
	w.db = sql.OpenDB(connector)
	w.db.SetMaxOpenConns(opts.Writers + 1) // one for short statements beside the loads
	w.db.SetMaxIdleConns(opts.Writers + 1)
	w.reads = sql.OpenDB(&readConnector{inner: connector, gate: w.gate})
	w.reads.SetMaxOpenConns(opts.Readers)
	w.reads.SetMaxIdleConns(opts.Readers)
	if err := w.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open warehouse %s: %w", path, err), w.reads.Close(), w.db.Close())
	}
	run, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.done.Go(func() { w.checkpoints(run) })
	return w, nil
}

// initConn settles every connection: one time zone, and no code from elsewhere.
func (w *Warehouse) initConn(ex driver.ExecerContext) error {
	settings := []string{
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		// Nor files: whoever may ask the warehouse may not read the machine's disk.
		"SET enable_external_access = false",
		"SET TimeZone = 'UTC'",
		// Of a join with few rows on one side, the vectors of the other that hold none
		// of their keys are not read.
		fmt.Sprintf("SET dynamic_or_filter_threshold = %d", fewRows),
		// A checkpoint writes every group of rows that was updated anew, in large
		// tables all of them: one for every 16 MB, the default, is most of the
		// cost of a commit.
		fmt.Sprintf("SET checkpoint_threshold = '%dKiB'", w.opts.CheckpointSize>>10),
	}
	if w.opts.MemoryLimit != "" {
		settings = append(settings, "SET memory_limit = "+w.dialect.Text(w.opts.MemoryLimit))
	}
	if w.opts.Threads > 0 {
		settings = append(settings, fmt.Sprintf("SET threads = %d", w.opts.Threads))
	}
	for _, s := range settings {
		if _, err := ex.ExecContext(context.Background(), s, nil); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// fewRows is how many values the scan of a join's other side is asked for one by
// one; of more it knows their bounds alone.
const fewRows = 2048

func (w *Warehouse) prepare(ctx context.Context) error {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := registerStage(conn); err != nil {
		return fmt.Errorf("register the stage's function: %w", err)
	}
	_, err = conn.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+w.dialect.Ident(sqlgen.Schema))
	return err
}

// Close waits for the checkpointer and closes the file. Loads and queries must
// have ended.
func (w *Warehouse) Close() error {
	w.stop()
	w.done.Wait()
	if err := errors.Join(w.reads.Close(), w.db.Close()); err != nil {
		return fmt.Errorf("close warehouse %s: %w", w.path, err)
	}
	return nil
}

// Query runs one reading statement in a read-only transaction of its own. The
// result is complete when Query returns: rows that are read slowly hold nothing
// up.
func (w *Warehouse) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return w.reads.QueryContext(ctx, query, args...)
}

// tx runs do in one transaction on the connection, and leaves the connection
// outside of any. An error of the COMMIT leaves open whether it happened.
func tx(ctx context.Context, conn *sql.Conn, do func() error) (err error) {
	// Neither end of a transaction may be cut short: its outcome would be unknown.
	steady := context.WithoutCancel(ctx)
	if ctx.Err() != nil {
		return fmt.Errorf("begin: %w", context.Cause(ctx))
	}
	if _, err := conn.ExecContext(steady, "BEGIN TRANSACTION"); err != nil {
		discard(conn)
		return fmt.Errorf("begin: %w", err)
	}
	if err := do(); err != nil {
		if _, rollback := conn.ExecContext(steady, "ROLLBACK"); rollback != nil {
			discard(conn)
			err = errors.Join(err, fmt.Errorf("roll back: %w", rollback))
		}
		return err
	}
	if _, err := conn.ExecContext(steady, "COMMIT"); err != nil {
		// A COMMIT that fails has most likely ended the transaction; whatever is
		// left of it goes with the ROLLBACK.
		if _, rollback := conn.ExecContext(steady, "ROLLBACK"); rollback != nil && !isConflict(rollback) {
			discard(conn)
		}
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// discard takes the connection out of the pool, and with it what it has open.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}

// isConflict reports whether DuckDB refused a statement because of the state of
// transactions: another one has written the same row or entry of the catalog,
// or none is open.
func isConflict(err error) bool {
	var e *dk.Error
	return errors.As(err, &e) && e.Type == dk.ErrorTypeTransaction
}
