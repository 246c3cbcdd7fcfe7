package mysql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/semaphore"
)

// Bounds of what was read and not yet taken (G13). The server waits when one of
// them is reached; a single event larger than the bound passes alone.
const (
	aheadBytes  = 8 << 20
	aheadEvents = 1024
)

// stream hands over the binlog's events one by one.
type stream struct {
	syncer *replication.BinlogSyncer
	parser *replication.BinlogParser // belongs to the handler
	sum    int                       // the bytes of checksum that end an event
	events chan *replication.BinlogEvent
	credit *semaphore.Weighted
	ctx    context.Context // ends the handler, which the library calls without one
	cancel context.CancelFunc
	failed chan struct{} // closed when err is set and no event follows
	err    error
}

// openStream asks the server for its binlog from a place on. Rows are not
// decoded: that is for the one who knows the table. The library hands events
// over as they are, because it would inflate a compressed transaction whole.
func openStream(d *mysql.Config, flavour string, id uint32, at place) (*stream, error) {
	host, port, err := endpoint(d)
	if err != nil {
		return nil, err
	}
	s := &stream{
		events: make(chan *replication.BinlogEvent, aheadEvents),
		credit: semaphore.NewWeighted(aheadBytes),
		failed: make(chan struct{}),
		parser: replication.NewBinlogParser(),
	}
	s.parser.SetFlavor(flavour)
	s.parser.SetRowsEventDecodeFunc(func(e *replication.RowsEvent, data []byte) error {
		_, err := e.DecodeHeader(data)
		return err
	})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.syncer = replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: id, Flavor: flavour, Host: host, Port: port, User: d.User, Password: d.Passwd, TLSConfig: d.TLS,
		HeartbeatPeriod: 5 * time.Second, DisableRetrySync: true, DiscardGTIDSet: true, EventCacheCount: 1,
		Logger:                  slog.New(slog.DiscardHandler),
		SynchronousEventHandler: s,
		RawModeEnabled:          true,
	})
	start := gomysql.Position{Name: at.file, Pos: 4}
	if at.pos <= math.MaxUint32 { // beyond, the protocol cannot name it: read the file again and skip
		start.Pos = uint32(at.pos)
	}
	errs, err := s.syncer.StartSync(start)
	if err != nil {
		s.cancel()
		s.syncer.Close()
		return nil, fmt.Errorf("start the stream: %w", err)
	}
	go func() {
		defer close(s.failed)
		_, s.err = errs.GetEvent(s.ctx)
	}()
	return s, nil
}

// HandleEvent hands over an event, or those of a compressed transaction.
func (s *stream) HandleEvent(e *replication.BinlogEvent) error {
	if e.Header.EventType == replication.TRANSACTION_PAYLOAD_EVENT {
		return eachInner(e, s.sum, s.parse)
	}
	return s.parse(e.RawData)
}

func (s *stream) parse(raw []byte) error {
	e, err := s.parser.Parse(raw)
	if err != nil {
		return fmt.Errorf("parse an event: %w", err)
	}
	if format, ok := e.Event.(*replication.FormatDescriptionEvent); ok {
		s.sum = 0
		if format.ChecksumAlgorithm == replication.BINLOG_CHECKSUM_ALG_CRC32 {
			s.sum = replication.BinlogChecksumLength
		}
	}
	return s.hand(e)
}

// hand waits until there is room for the event: the socket fills, and the
// server stops reading its log.
func (s *stream) hand(e *replication.BinlogEvent) error {
	if err := s.credit.Acquire(s.ctx, weight(e)); err != nil {
		return fmt.Errorf("hand over an event: %w", err)
	}
	select {
	case s.events <- e:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func weight(e *replication.BinlogEvent) int64 { return min(int64(len(e.RawData)), aheadBytes) }

// errIdle says that nothing came for a while.
var errIdle = errors.New("no event")

// next waits for an event, at most until idle fires.
func (s *stream) next(ctx context.Context, idle <-chan time.Time) (*replication.BinlogEvent, error) {
	select {
	case e := <-s.events: // what came before the end comes first
		s.credit.Release(weight(e))
		return e, nil
	default:
	}
	select {
	case e := <-s.events:
		s.credit.Release(weight(e))
		return e, nil
	case <-s.failed:
		if len(s.events) > 0 {
			return s.next(ctx, idle)
		}
		return nil, s.err
	case <-idle:
		return nil, errIdle
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// close ends the stream and waits for its goroutines.
func (s *stream) close() {
	s.cancel()
	s.syncer.Close()
	<-s.failed
}
