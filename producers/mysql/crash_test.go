package mysql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"
	"golang.org/x/sync/semaphore"

	"millrace/internal/testkit"
	"millrace/producers"
	"millrace/schemas"
)

// recorded opens a source on a table t of the database and returns the events
// that the statements then put into the log.
func recorded(t *testing.T, dsn, database string, stmts ...string) (*source, []*replication.BinlogEvent) {
	t.Helper()
	db := testkit.Open(t, dsn)
	exec := func(stmt string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), stmt); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	cfg := &Config{DSN: dsn, Tables: []Table{{Name: database + ".t"}}}
	opened, err := cfg.Open(t.Context(), producers.Start{Epoch: 1}, producers.Env{
		Log:    slog.New(slog.DiscardHandler),
		Source: "src", Prefix: "p", Now: time.Now,
		Topic: func(schema, table string, generation int) string { return fmt.Sprint(schema, table, generation) },
		Halt:  func(h *producers.HaltError) { t.Error(h) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	s := opened.(*source)
	for _, stmt := range stmts {
		exec(stmt)
	}
	exec("CREATE DATABASE " + database + "_end")
	t.Cleanup(func() { _, _ = db.Exec("DROP DATABASE " + database + "_end") })
	var events []*replication.BinlogEvent
	for {
		e, err := s.stream.next(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if q, ok := e.Event.(*replication.QueryEvent); ok && string(q.Schema) == database+"_end" {
			return s, events[:len(events)-1] // without the GTID of the end
		}
		events = append(events, e)
	}
}

// feed processes events; a batch is handed over first where one asks for it.
func (s *source) feed(t *testing.T, events ...*replication.BinlogEvent) {
	t.Helper()
	for _, e := range events {
		for {
			hold, err := s.process(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			if !hold {
				break
			}
			s.cut()
			s.empty()
		}
	}
}

// nextFile is the head of a file that the server began after a crash.
func (s *source) nextFile() []*replication.BinlogEvent {
	name := fmt.Sprintf("%s.%06d", s.log.at.base(), s.log.at.number+1)
	return []*replication.BinlogEvent{
		{Header: &replication.EventHeader{EventType: replication.ROTATE_EVENT}, Event: &replication.RotateEvent{Position: 4, NextLogName: []byte(name)}},
		{
			Header: &replication.EventHeader{EventType: replication.FORMAT_DESCRIPTION_EVENT, LogPos: 256, Timestamp: 7},
			Event:  &replication.FormatDescriptionEvent{},
		},
		{Header: &replication.EventHeader{EventType: replication.MARIADB_GTID_LIST_EVENT, LogPos: 300}, Event: &replication.MariadbGTIDListEvent{}},
	}
}

// A server that crashes while it writes a transaction leaves a part of it in
// the log and rolls it back.
func TestUnfinishedTransactionOfACrashIsTakenBack(t *testing.T) {
	srv := testkit.MariaDB(t)
	s, events := recorded(t, srv.CreateDatabase("crash"), "crash", "INSERT INTO t VALUES (1, 1)", "INSERT INTO t VALUES (2, 2), (3, 3)")
	s.cut()
	s.empty()
	unfinished := events[:len(events)-1] // all but the last XID

	s.feed(t, unfinished...)
	if n := len(s.out.Changes); n != 3 {
		t.Fatalf("%d changes before the crash, want 3", n)
	}
	boundary, head := s.log.boundary, s.nextFile()
	s.feed(t, head[:2]...)
	if tok, _, err := parseToken(s.cut().Resume); err != nil || tok.File != boundary.file || tok.Created == 7 {
		t.Fatalf("before the new file told its GTIDs: token %+v, %v", tok, err)
	}
	s.feed(t, head[2])
	b := s.cut()
	if len(b.Changes) != 1 || b.Changes[0].After[0].Int != 1 || len(b.Tables) != 0 {
		t.Fatalf("after the crash: %d changes, %d versions", len(b.Changes), len(b.Tables))
	}
	tok, at, err := parseToken(b.Resume)
	if err != nil || at.number != boundary.number+1 || tok.Created != 7 || tok.GTIDs == s.group.gtid.String() {
		t.Fatalf("token %s, %v", b.Resume, err)
	}
}

// What was sent of it cannot be taken back: its tables are snapshotted again.
func TestSentPartOfAnUnfinishedTransactionIsSnapshottedAgain(t *testing.T) {
	srv := testkit.MariaDB(t)
	s, events := recorded(t, srv.CreateDatabase("crash"), "crash", "INSERT INTO t VALUES (2, 2), (3, 3)")
	s.cut()
	s.empty()
	s.feed(t, events[:len(events)-1]...)
	if b := s.cut(); len(b.Changes) != 2 || b.Resume != "" {
		t.Fatalf("a piece of a transaction: %d changes, token %q", len(b.Changes), b.Resume)
	}
	last := s.out.Changes[1].Position
	s.empty()
	s.feed(t, s.nextFile()...)
	b := s.cut()
	if len(b.Tables) != 1 || !last.Less(b.Tables[0].Since) || b.Resume == "" {
		t.Fatalf("after the crash: %+v", b)
	}
}

// Trap 8: events that end at one place are numbered on.
func TestTrap8EqualEndsAreNumberedOn(t *testing.T) {
	s := &source{epoch: 1, log: log{at: place{file: "b.1", number: 1, pos: 500}}}
	for range 3 { // three events of one compressed transaction
		s.change(&rowsReader{}, schemas.Change{})
	}
	s.log.at.pos = 600
	s.change(&rowsReader{}, schemas.Change{})
	for i, want := range []string{"500/1", "500/2", "500/3", "600/1"} {
		p := s.out.Changes[i].Position
		if got := fmt.Sprintf("%d/%d", p.Minor, p.Seq); got != want {
			t.Errorf("change %d stands at %s, want %s", i, got, want)
		}
	}
}

// The bytes that were read ahead are bounded: the reader waits, and ends when
// the stream does.
func TestReadingAheadIsBounded(t *testing.T) {
	s := &stream{events: make(chan *replication.BinlogEvent, aheadEvents), credit: semaphore.NewWeighted(aheadBytes)}
	s.ctx, s.cancel = context.WithCancel(t.Context())
	big := &replication.BinlogEvent{RawData: make([]byte, aheadBytes/3)}
	done := make(chan error)
	go func() {
		var err error
		for err == nil {
			err = s.hand(big)
		}
		done <- err
	}()
	for len(s.events) < 3 {
		time.Sleep(time.Millisecond)
	}
	if _, err := s.next(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for len(s.events) < 3 { // one was taken, one follows
		time.Sleep(time.Millisecond)
	}
	if n := len(s.events); n != 3 {
		t.Errorf("%d events of a third of the bound wait", n)
	}
	s.cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the reader ended with %v", err)
	}
}

// A single event above the bound passes.
func TestOneEventAboveTheBoundPasses(t *testing.T) {
	s := &stream{events: make(chan *replication.BinlogEvent, 1), credit: semaphore.NewWeighted(aheadBytes), ctx: t.Context()}
	huge := &replication.BinlogEvent{RawData: make([]byte, aheadBytes+1)}
	for range 3 {
		if err := s.hand(huge); err != nil {
			t.Fatal(err)
		}
		if e, err := s.next(t.Context(), nil); err != nil || e != huge {
			t.Fatal(e, err)
		}
	}
}

// Whatever the bytes of a rows event are, reading them ends with an error or
// rows, never outside of them.
func FuzzRowImage(f *testing.F) {
	l := &layout{}
	for _, c := range []column{
		{wire: 3, form: formInt, signed: true},
		{wire: 8, form: formUnsigned64},
		{wire: 246, meta: 18<<8 | 9, form: formDecimal},
		{wire: 18, meta: 6, form: formDateTime},
		{wire: 17, meta: 3, form: formTimestamp},
		{wire: 19, meta: 6, form: formTime},
		{wire: 10, form: formDate},
		{wire: 15, meta: 300, form: formText, text: charset{name: "utf8mb4", ascii: true}},
		{wire: 252, meta: 4, form: formBytes},
		{wire: 254, meta: 254<<8 | 16, form: formUUID, size: 16},
		{wire: 16, meta: 1<<8 | 2, form: formBit},
		{wire: 247, meta: 247<<8 | 1, form: formEnum, labels: [][]byte{{'a'}}},
	} {
		c.typ = typeOf(c.form, bitWidth(c.meta), 18, 9)
		l.columns = append(l.columns, c)
	}
	f.Add([]byte{0, 0, 1, 0, 0, 0}, []byte{0xff, 0x0f})
	f.Add(make([]byte, 200), []byte{0xff, 0x0f})
	f.Add([]byte{0xff, 0xff}, []byte{0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data, present []byte) {
		var v converter
		for len(data) > 0 {
			row, rest, err := v.image(l, data, present, nil, false)
			if err != nil {
				return
			}
			if len(row) != len(l.columns) || len(rest) >= len(data) && len(present) > 0 && present[0] != 0 {
				t.Fatalf("%d cells, %d of %d bytes left", len(row), len(rest), len(data))
			}
			if len(rest) == len(data) {
				return
			}
			data = rest
		}
	})
}
