package bigquery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cloud.google.com/go/bigquery/storage/managedwriter"
	"google.golang.org/protobuf/types/descriptorpb"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// A request may have 20 MB. maxRequest leaves room for what stands around the
// rows; depth is how many requests wait for their replies. Together they bound
// what a load holds (G13).
const (
	maxRequest = 18 << 20
	depth      = 2
	rowFrame   = 6 // bytes around a row in a request, at most
)

// staged is a batch in its staging table.
type staged struct {
	batch    string
	atUs     int64
	rows     int64
	nullKeys bool
	bounds   map[int][2]string
}

// rowError is a row that cannot be staged, whatever is tried.
type rowError struct{ err error }

func (e *rowError) Error() string { return e.err.Error() }
func (e *rowError) Unwrap() error { return e.err }

// stage writes the batch's rows under a name of their own, by a file if one is
// of use, else by the stream. If the stream fails,
// all of them are written again under another name: what is left under the
// first one is never read, and expires.
func (w *Warehouse) stage(ctx context.Context, t *table, c *sqlgen.Core, b *warehouse.Batch) (staged, error) {
	if b.Rows == nil {
		return staged{batch: randomID()}, nil
	}
	if c.Mode != schemas.ModeUpsert { // its rows are changes, and a file holds none
		if s, ok, err := w.stageFile(ctx, t, c, b); ok || err != nil {
			return s, err
		}
	}
	pause, began := w.pauses(), time.Now()
	defer pause.end()
	for attempt := 1; ; attempt++ {
		s := staged{batch: w.session + "-" + randomID(), atUs: w.clock.now().UnixMicro()}
		out := t.takeStream()
		err := w.append(ctx, &out, c, b, &s)
		if err == nil {
			t.giveStream(out)
			return s, nil
		}
		out.close()
		if named, ok := refuses(err); ok {
			return s, fmt.Errorf("stage: %w", w.findRefused(ctx, c, b, named, err))
		}
		var row *rowError
		if errors.As(err, &row) || ctx.Err() != nil {
			return s, fmt.Errorf("stage: %w", err)
		}
		kind := classOf(err)
		if kind == fatal || kind == lag && time.Since(began) > w.opts.SchemaWait || kind != lag && kind != quota && attempt >= w.opts.Attempts {
			return s, fmt.Errorf("stage: %w", cure(err))
		}
		if kind == lag && attempt == 2 {
			if err := w.remakeStage(ctx, t, c); err != nil {
				return s, fmt.Errorf("stage: %w", err)
			}
		}
		w.metrics.restaged.Inc()
		w.opts.Logger.Warn("batch staged again", "table", b.Table.Name, "load", b.Load, "err", err)
		if waitErr := pause.wait(ctx, kind); waitErr != nil {
			return s, fmt.Errorf("stage: %w", unanswered(waitErr, err))
		}
	}
}

// remakeStage makes the staging table if it was dropped by hand: no row of it is
// needed by anybody else. Of a table in ModeUpsert, the rows themselves are gone.
func (w *Warehouse) remakeStage(ctx context.Context, t *table, c *sqlgen.Core) error {
	if c.Mode == schemas.ModeUpsert {
		_, there, err := w.metadata(ctx, c.Name.BaseDataset(), c.Name.BaseTable())
		if err == nil && !there {
			err = gone(c.Name.BaseDataset(), c.Name.BaseTable(), "and its head is there")
		}
		return err
	}
	_, there, err := w.metadata(ctx, sqlgen.Schema, c.Staging())
	if err != nil || there {
		return err
	}
	w.opts.Logger.Warn("staging table made again: it was gone", "table", t.name.String(), "stage", c.Staging())
	return w.ddl(ctx, t.name, c.CreateStaging())
}

// append writes the rows once.
func (w *Warehouse) append(ctx context.Context, out **stream, c *sqlgen.Core, b *warehouse.Batch, s *staged) error {
	b.Rows.Reset()
	e, desc, err := encoderOf(c, b, s.batch, s.atUs)
	if err != nil {
		return &rowError{err}
	}
	p := pipeline{ctx: ctx, limit: w.opts.RequestBytes, spare: &w.requests}
	e.sink.more = p.buffer
	for {
		row, err := e.next(b.Rows)
		if isEnd(err) {
			break
		}
		if err != nil {
			if errors.Is(err, errRefused) {
				return err
			}
			return &rowError{fmt.Errorf("row %d: %w", s.rows, err)}
		}
		if len(row)+rowFrame > p.limit {
			return errRefused
		}
		if p.size+len(row)+rowFrame > p.limit {
			if err := w.send(out, c, desc, &p); err != nil {
				return err
			}
			// The row is the first of the next request, and so in its memory. Where it
			// was written waits for a reply still: depth is two at least.
			e.sink.turn(0)
			row = e.sink.buf
		}
		p.add(row)
		s.rows++
	}
	if err := w.send(out, c, desc, &p); err != nil {
		return err
	}
	for len(p.waiting) > 0 {
		if err := p.receive(); err != nil {
			return err
		}
	}
	w.metrics.stagedRows.WithLabelValues(byStream).Add(float64(s.rows))
	s.nullKeys, s.bounds = e.nullKeys, e.bounds(c)
	return nil
}

// send hands the rows of a request over, and waits for the oldest reply if too
// many are out.
func (w *Warehouse) send(out **stream, c *sqlgen.Core, desc *descriptorpb.DescriptorProto, p *pipeline) error {
	if p.request == nil || len(p.request.rows) == 0 {
		return nil
	}
	if err := w.open(p.ctx, out, c, desc); err != nil {
		return err
	}
	to := *out
	var at []managedwriter.AppendOption
	if !to.byKey {
		at = append(at, managedwriter.WithOffset(to.offset))
	}
	result, err := to.AppendRows(p.ctx, p.request.rows, at...)
	if err != nil {
		return fmt.Errorf("append rows at offset %d: %w", to.offset, heard(err))
	}
	rows := int64(len(p.request.rows))
	to.offset += rows
	w.metrics.stagedBytes.WithLabelValues(byStream).Add(float64(p.size))
	p.waiting = append(p.waiting, waiting{result, p.request, p.sent})
	p.sent += rows
	p.request, p.size = nil, 0
	if len(p.waiting) >= depth {
		return p.receive()
	}
	return nil
}

// pipeline is what is on its way of one batch.
type pipeline struct {
	ctx     context.Context
	limit   int
	size    int
	request *request // that is being filled; nil before its first row
	sent    int64    // rows of the requests before
	waiting []waiting
	spare   *sync.Pool // of *request, shared by all tables
}

// waiting is a request without its reply. Until that comes, its rows are the
// writer's.
type waiting struct {
	*managedwriter.AppendResult
	request *request
	first   int64 // its first row, counted over the batch
}

// request is the rows of a request, and the memory in which they lie.
type request struct {
	rows    [][]byte
	buffers [][]byte
	used    int
}

// bufferSize is that of a request's buffers; a larger row has its own.
const bufferSize = 256 << 10

func (p *pipeline) add(row []byte) {
	p.request.rows = append(p.request.rows, row)
	p.size += len(row) + rowFrame
}

// buffer is an empty buffer of the request with room for n bytes.
func (p *pipeline) buffer(n int) []byte {
	if p.request == nil {
		if p.request, _ = p.spare.Get().(*request); p.request == nil {
			p.request = &request{}
		}
	}
	r := p.request
	if n > bufferSize {
		return make([]byte, 0, n+n/2) // it may grow
	}
	if r.used == len(r.buffers) {
		r.buffers = append(r.buffers, make([]byte, 0, bufferSize))
	}
	r.used++
	return r.buffers[r.used-1]
}

// receive waits for the oldest reply.
func (p *pipeline) receive() error {
	oldest := p.waiting[0]
	reply, err := oldest.FullResponse(p.ctx)
	p.waiting = p.waiting[1:]
	if err == nil {
		r := oldest.request
		clear(r.rows)
		r.rows, r.used = r.rows[:0], 0
		p.spare.Put(r)
		return nil
	}
	if said := reply.GetRowErrors(); len(said) > 0 {
		named := refusedRows{}
		for _, row := range said {
			named[oldest.first+row.GetIndex()] = row.GetMessage()
		}
		return named
	}
	return fmt.Errorf("append rows: %w", err)
}

// stream is an open stream into a staging table. What one batch leaves behind in
// it, another one does not read.
type stream struct {
	*managedwriter.ManagedStream
	table  string // and its layout
	byKey  bool   // a default stream: it takes changes by key, and no offsets
	offset int64  // of the next row
	cancel context.CancelFunc
}

// open makes a stream into the batch's staging table, unless it is open. One
// stream serves many loads: the service makes few in an hour.
func (w *Warehouse) open(ctx context.Context, out **stream, c *sqlgen.Core, desc *descriptorpb.DescriptorProto) error {
	name, dataset, table, kind := c.Staging(), sqlgen.Schema, c.Staging(), managedwriter.CommittedStream
	if c.Mode == schemas.ModeUpsert {
		// The rows' own table, which stays when its columns change.
		dataset, table, kind = c.Name.BaseDataset(), c.Name.BaseTable(), managedwriter.DefaultStream
		name = table + " " + name
	}
	if *out != nil && (*out).table == name {
		return nil
	}
	(*out).close()
	*out = nil
	// The stream outlives the load that opens it, but its making does not. That
	// may wait for those of other tables, beyond the bounds of its own calls.
	steady, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	late := time.AfterFunc(2*w.opts.CallTimeout, cancel)
	ms, err := w.writes.NewManagedStream(steady,
		managedwriter.WithDestinationTable(managedwriter.TableParentFromParts(w.opts.Project, dataset, table)),
		managedwriter.WithType(kind), managedwriter.WithSchemaDescriptor(desc),
		managedwriter.WithTraceID("Millrace:load"))
	inTime := late.Stop()
	if !stop() && err == nil {
		err = errors.Join(context.Cause(ctx), ms.Close())
	} else if !inTime {
		if err == nil {
			_ = ms.Close() // says no more than that it is closed
		}
		return tookTooLong(table, 2*w.opts.CallTimeout)
	}
	if err != nil {
		cancel()
		return fmt.Errorf("open a stream into %s: %w", table, heard(err))
	}
	*out = &stream{ManagedStream: ms, table: name, byKey: kind == managedwriter.DefaultStream, cancel: cancel}
	return nil
}

// takeStream gives the table's stream to a load, which has it alone.
func (t *table) takeStream() *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stream
	t.stream = nil
	return s
}

// giveStream takes it back, unless there is another one by now.
func (t *table) giveStream(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stream != nil {
		s.close()
		return
	}
	t.stream = s
}

// close gives the stream up. Its error says no more than that it is closed.
func (s *stream) close() {
	if s != nil {
		_ = s.Close()
		s.cancel()
	}
}
