package bigquery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// accounts is a table in ModeUpsert, and the changes that its loads take.
func accounts() warehouse.CoreTable {
	return warehouse.CoreTable{Name: "core.accounts", Mode: schemas.ModeUpsert, Key: []string{"id"}, Columns: []schemas.Column{
		{Name: "id", Type: kindOf(schemas.Int)}, {Name: "v", Type: kindOf(schemas.String)},
	}}
}

// row is what becomes of a key at a position; without a value it is deleted.
type row struct {
	key int64
	pos uint64
	v   string
}

// upserts is the batch of rows at the topic's offset at which load began.
func upserts(head warehouse.Head, from int64, rows ...row) *warehouse.Batch {
	list := &listed{}
	for _, r := range rows {
		f := warehouse.Folded{Op: schemas.Update, Pos: at(r.pos)}
		if r.v == "" {
			f.Op = schemas.Delete
		}
		list.folds = append(list.folds, f)
		list.write = append(list.write, func(s warehouse.Sink) {
			s.Int(0, r.key)
			if r.v != "" {
				s.Bytes(1, []byte(r.v))
			}
		})
	}
	n := int64(len(rows))
	return &warehouse.Batch{
		Table: accounts(), Epoch: head.Epoch, Load: head.Load + 1, Partitions: 1, Rows: list, Counts: schemas.RowCounts{Read: n}, StartedAt: time.Now(),
		Ranges: []schemas.Range{{Topic: "topic", From: from, To: from + n}},
	}
}

// readers is what readers see.
func (p *project) readers(t *testing.T) string {
	t.Helper()
	var out []string
	for _, r := range p.view(t, accounts()) {
		out = append(out, fmt.Sprintf("%d=%s", r[0].Int, r[1].Bytes))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func ensureAccounts(t *testing.T, p *project) warehouse.Head {
	t.Helper()
	if err := p.w.Ensure(t.Context(), accounts()); err != nil {
		t.Fatal(err)
	}
	return takeAccounts(t, p.w)
}

func takeAccounts(t *testing.T, w *Warehouse) warehouse.Head {
	t.Helper()
	head, err := w.Acquire(t.Context(), "core.accounts", "topic", "id")
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// Whatever the service does at a call of a load, the rows are those of the
// greatest positions, and the load is announced once.
func TestUpsertEveryFaultOnce(t *testing.T) {
	slow(t)
	for name, c := range map[string]struct {
		point string
		nth   int
		fault bigqueryfake.Fault
		fails bool
	}{
		"append: reply lost":           {"AppendRows", 2, bigqueryfake.LoseReply(), false},
		"append: stream gone":          {"AppendRows", 2, bigqueryfake.StreamGone(), false},
		"append: connection cut":       {"AppendRows", 1, bigqueryfake.Cut(), false},
		"append: 503":                  {"AppendRows", 2, bigqueryfake.Refuse(503, "backendError", "no"), false},
		"append: quota":                {"AppendRows", 1, bigqueryfake.Refuse(429, "quotaExceeded", "no"), false},
		"append: permission was taken": {"AppendRows", 1, bigqueryfake.Refuse(403, "accessDenied", "no"), true},
		"insert: reply lost":           {"jobs.insert", 1, bigqueryfake.LoseReply(), false},
		"job: error before":            {"job", 1, bigqueryfake.FailJob("backendError", "no"), false},
		"job: error behind":            {"job", 1, bigqueryfake.FailJobLate("backendError", "no"), true}, // it was committed
		"COMMIT: conflict":             {"statement COMMIT", 1, bigqueryfake.Refuse(400, "invalidQuery", "Transaction is aborted due to concurrent update against table x"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			p.w.opts.RequestBytes = 400 // a few rows
			head := ensureAccounts(t, p)
			var first, second []row
			for key := range int64(8) {
				first, second = append(first, row{key, 10, "old"}), append(second, row{key, 20, "new"})
			}
			second[3].v, second[4].pos = "", 5
			if _, err := p.w.Load(t.Context(), upserts(head, 0, first...)); err != nil {
				t.Fatal(err)
			}
			head.Load++
			p.fake.On(c.point, c.nth, c.fault)
			if _, err := p.w.Load(t.Context(), upserts(head, 8, second...)); (err != nil) != c.fails {
				t.Fatalf("got %v; fired: %v", err, p.fake.Fired())
			}
			if fired := p.fake.Fired(); len(fired) != 1 {
				t.Fatalf("fired: %v", fired)
			}
			if head = takeAccounts(t, p.w); head.Load == 1 {
				if _, err := p.w.Load(t.Context(), upserts(head, 8, second...)); err != nil {
					t.Fatal(err)
				}
			}
			if got := p.readers(t); got != "0=new 1=new 2=new 4=old 5=new 6=new 7=new" {
				t.Errorf("readers see %s", got)
			}
			events, err := p.w.Loads(t.Context(), "core.accounts", 0, 10)
			if err != nil || len(events) != 2 || events[1].Rows.Applied != 8 || !events[1].All || len(events[1].JobIDs) != 1 {
				t.Errorf("the log says %+v, %v", events, err)
			}
		})
	}
}

// An owner of before has its rows in the table, and moves no head: they are those
// that the new owner loads, sooner or later than it does.
func TestUpsertZombie(t *testing.T) {
	p := newProject(t)
	zombie := ensureAccounts(t, p)
	if _, err := p.w.Load(t.Context(), upserts(zombie, 0, row{1, 10, "a"}, row{2, 10, "b"})); err != nil {
		t.Fatal(err)
	}
	old := p.w
	p.open(t)
	t.Cleanup(func() {
		if err := old.Close(); err != nil {
			t.Error(err)
		}
	})
	head := takeAccounts(t, p.w)
	// fenced has the old owner load what it has read, as if it knew nothing yet.
	fenced := func(load int64, rows ...row) {
		t.Helper()
		believed := warehouse.Head{Epoch: zombie.Epoch, Load: load}
		known := old.tables["core.accounts"]
		known.learn(nil)
		known.learn(&coretable.Head{Head: believed, Mode: schemas.ModeUpsert})
		if _, err := old.Load(t.Context(), upserts(believed, 2, rows...)); !errors.Is(err, warehouse.ErrFenced) {
			t.Fatalf("got %v", err)
		}
		if h, err := p.w.readHead(t.Context(), known.name); err != nil || h.Load != load || h.Epoch != head.Epoch {
			t.Fatalf("head %+v, %v", h, err)
		}
	}
	fenced(1, row{1, 20, "ahead"})
	if got := p.readers(t); got != "1=ahead 2=b" { // read before it is announced
		t.Errorf("readers see %s", got)
	}
	if _, err := p.w.Load(t.Context(), upserts(head, 2, row{1, 20, "ahead"}, row{2, 21, ""}, row{3, 22, "c"})); err != nil {
		t.Fatal(err)
	}
	fenced(2, row{1, 15, "behind"}, row{2, 11, "behind"}, row{3, 22, "c"})
	if got := p.readers(t); got != "1=ahead 3=c" {
		t.Errorf("readers see %s", got)
	}
}

// A column that was added is awaited by the load that has it.
func TestUpsertAwaitsItsColumns(t *testing.T) {
	slow(t)
	p := newProjectWith(t, bigqueryfake.Options{SchemaDelay: 300 * time.Millisecond, TableDelay: 100 * time.Millisecond})
	head := ensureAccounts(t, p)
	if _, err := p.w.Load(t.Context(), upserts(head, 0, row{1, 10, "a"})); err != nil {
		t.Fatal(err)
	}
	head.Load++
	b := upserts(head, 1, row{1, 11, "b"})
	b.Table.Columns = append(b.Table.Columns, schemas.Column{Name: "more", Type: kindOf(schemas.Date)})
	write := b.Rows.(*listed).write
	b.Rows.(*listed).write = []func(warehouse.Sink){func(s warehouse.Sink) { write[0](s); s.Int(2, 7) }}
	if err := p.w.Ensure(t.Context(), b.Table); err != nil {
		t.Fatal(err)
	}
	if _, err := p.w.Load(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := p.view(t, b.Table); len(got) != 1 || string(got[0][1].Bytes) != "b" || got[0][2].Int != 7 {
		t.Errorf("readers see %+v", got)
	}
}

// The calls of a load are few, and no stream is made.
func TestCallsOfAnUpsert(t *testing.T) {
	p := newProject(t)
	head := ensureAccounts(t, p)
	for n := range int64(3) {
		before := p.fake.Calls()
		if _, err := p.w.Load(t.Context(), upserts(head, n, row{n, 10, "a"})); err != nil {
			t.Fatal(err)
		}
		head.Load++
		now := p.fake.Calls()
		for point, want := range map[string]int{"jobs.insert": 1, "jobs.getQueryResults": 1, "AppendRows": 1, "tables.get": 0, "CreateWriteStream": 0} {
			if got := now[point] - before[point]; got != want && (n > 0 || point != "tables.get") {
				t.Errorf("load %d: %s was called %d times, want %d", n+1, point, got, want)
			}
		}
	}
}

// BigQuery remembers a delete for two days. A rewind to before that is refused;
// what is late for another reason makes the row again.
func TestUpsertBeyondTheMemoryOfDeletes(t *testing.T) {
	p := newProject(t)
	head := ensureAccounts(t, p)
	for n, rows := range [][]row{{{1, 10, "a"}, {2, 10, "b"}}, {{1, 11, ""}}, {{2, 12, "c"}}} {
		if _, err := p.w.Load(t.Context(), upserts(head, []int64{0, 2, 3}[n], rows...)); err != nil {
			t.Fatal(err)
		}
		head.Load++
	}
	n := sqlgen.Name{Dataset: "core", Table: "accounts"}
	aged := func(load int64, hours int) {
		t.Helper()
		err := p.w.ddl(t.Context(), n, fmt.Sprintf("UPDATE millrace.core__accounts__loads SET committed_at = TIMESTAMP_MICROS(%d) WHERE load <= %d",
			time.Now().Add(-time.Duration(hours)*time.Hour).UnixMicro(), load))
		if err != nil {
			t.Fatal(err)
		}
	}
	rewind := func(to int64) error {
		t.Helper()
		return p.w.Rewind(t.Context(), "core.accounts", head.Epoch, map[int32]int64{0: to})
	}
	aged(2, 49)
	if err := rewind(2); err == nil || !strings.Contains(err.Error(), "remembers deletes for two days") || !strings.Contains(err.Error(), "(load 2)") || !matches(err, runbook(t)["A rewind goes too far back"]) {
		t.Errorf("got %v", err)
	}
	if err := rewind(3); err != nil { // load 3 is young
		t.Error(err)
	}
	p.fake.Skew(49 * time.Hour)
	if _, err := p.w.Load(t.Context(), upserts(head, 3, row{2, 12, "c"}, row{1, 9, "from a snapshot that waited"})); err != nil {
		t.Fatal(err)
	}
	if got := p.readers(t); got != "1=from a snapshot that waited 2=c" {
		t.Errorf("readers see %s", got)
	}
}

// Offsets of a topic say nothing about those of the topic before it: only what was
// loaded from the table's own bounds a rewind.
func TestUpsertRewindBehindAGenerationStep(t *testing.T) {
	p := newProject(t)
	head := ensureAccounts(t, p)
	load := func(topic string, from int64, rows ...row) {
		t.Helper()
		b := upserts(head, from, rows...)
		b.Ranges[0].Topic = topic
		if _, err := p.w.Load(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		head.Load++
	}
	load("topic", 1000, row{1, 10, "a"})
	n := sqlgen.Name{Dataset: "core", Table: "accounts"}
	stepped := "UPDATE millrace.core__accounts__head SET offsets = PARSE_JSON('{\"0\":10}'), topic = 'topic.g2' WHERE TRUE"
	aged := fmt.Sprintf("UPDATE millrace.core__accounts__loads SET committed_at = TIMESTAMP_MICROS(%d) WHERE TRUE", time.Now().Add(-49*time.Hour).UnixMicro())
	if err := p.w.ddl(t.Context(), n, stepped, aged); err != nil {
		t.Fatal(err)
	}
	head = takeAccounts(t, p.w)
	load("topic.g2", 10, row{1, 11, "b"}, row{2, 12, "c"})
	rewind := func(to int64) error {
		t.Helper()
		return p.w.Rewind(t.Context(), "core.accounts", head.Epoch, map[int32]int64{0: to})
	}
	if err := rewind(10); err != nil {
		t.Error(err)
	}
	load("topic.g2", 10, row{1, 11, "b"}, row{2, 12, "c"})
	if err := p.w.ddl(t.Context(), n, aged); err != nil {
		t.Fatal(err)
	}
	if err := rewind(11); err == nil || !strings.Contains(err.Error(), "(load 3)") {
		t.Errorf("a load of the table's own topic: %v", err)
	}
}

// What a dead letter of such a table says is in the runbook.
func TestUpsertLetterInTheRunbook(t *testing.T) {
	if quote := runbook(t)["A change lacks a value"]; !matches(errors.New(unwhole), strings.TrimPrefix(quote, "column …: ")) {
		t.Errorf("it quotes %s", quote)
	}
}

// A value that the service alone refuses is named by its column.
func TestUpsertRefusedByTheService(t *testing.T) {
	p := newProject(t)
	table := accounts()
	table.Columns[1].Name, table.Columns[1].Type = "the doc", kindOf(schemas.JSON)
	if err := p.w.Ensure(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	b := upserts(takeAccounts(t, p.w), 0, row{1, 10, `{"a":1}`}, row{2, 11, `{"half"`})
	b.Table = table
	_, err := p.w.Load(t.Context(), b)
	var refused *warehouse.RowsError
	if !errors.As(err, &refused) || len(refused.Rows) != 1 || refused.Rows[0].Row != 1 || refused.Rows[0].Column != "the doc" || refused.Rows[0].Pos != at(11) {
		t.Fatalf("got %v", err)
	}
}

// Rows that were taken away by hand are told, and nothing is made in their place.
func TestUpsertTableGone(t *testing.T) {
	p := newProject(t)
	head := ensureAccounts(t, p)
	if _, err := p.w.Load(t.Context(), upserts(head, 0, row{1, 10, "a"})); err != nil {
		t.Fatal(err)
	}
	head.Load++
	if err := p.w.ddl(t.Context(), sqlgen.Name{Dataset: "core", Table: "accounts"}, "DROP TABLE core__base.accounts"); err != nil {
		t.Fatal(err)
	}
	_, err := p.w.Load(t.Context(), upserts(head, 1, row{1, 11, "b"}))
	var changed *warehouse.ChangedError
	if !errors.As(err, &changed) || !strings.Contains(err.Error(), "the table core__base.accounts is gone") {
		t.Errorf("got %v", err)
	}
}

// A table of two thousand columns fits, because no load of it names them.
func TestUpsertOfManyColumns(t *testing.T) {
	slow(t)
	p := newProject(t)
	table := accounts()
	for len(table.Columns) < sqlgen.MaxUpsertColumns {
		table.Columns = append(table.Columns, schemas.Column{Name: fmt.Sprintf("%s_%d", strings.Repeat("long", 20), len(table.Columns)), Type: kindOf(schemas.Int)})
	}
	if err := p.w.Ensure(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	b := upserts(takeAccounts(t, p.w), 0, row{1, 10, "a"})
	b.Table = table
	if _, err := p.w.Load(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// The row is a message of the table's own columns, and says what it is.
func TestUpsertRow(t *testing.T) {
	core, table := fixture(schemas.ModeUpsert)
	core.Columns[1].Name, table.Columns[1].Name = "a note", "a note"
	e, desc, err := newUpsertEncoder(core, table, 7, 9)
	if err != nil {
		t.Fatal(err)
	}
	rows := &listed{
		folds: []warehouse.Folded{{Op: schemas.Create, Pos: at(3)}, {Op: schemas.Delete, Pos: at(4)}},
		write: []func(warehouse.Sink){
			func(s warehouse.Sink) { s.Bytes(1, []byte("x")); s.Int(0, 5); s.Int(8, 1) },
			func(s warehouse.Sink) { s.Bytes(1, []byte("old")); s.Int(0, 5); s.Int(8, 1) },
		},
	}
	pos := func(n uint64) string { return at(n).String() }
	for i, want := range []map[string]string{
		{"id": "5", "column_1": "x", "day": "1", "_pos": pos(3), "_load": "7", "_loaded_at": "9", "_CHANGE_TYPE": "UPSERT", "_CHANGE_SEQUENCE_NUMBER": pos(3)},
		{"id": "5", "_pos": pos(4), "_load": "7", "_loaded_at": "9", "_CHANGE_TYPE": "DELETE", "_CHANGE_SEQUENCE_NUMBER": pos(4)},
	} {
		row, err := e.next(rows)
		if err != nil {
			t.Fatal(err)
		}
		if got := decoded(t, desc, row); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("row %d is\n%v\nwant\n%v", i, got, want)
		}
	}
}
