package verify

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/page"
	"millrace/internal/testkit"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// payments is a table with a column of each kind that takes a turn on its way
// from Avro to text.
func payments() *schemas.Table {
	kinds := []schemas.Column{
		{Name: "id", Type: schemas.Type{Kind: schemas.Int}},
		{Name: "amount", Type: schemas.Type{Kind: schemas.Decimal, Precision: 12, Scale: 2}},
		{Name: "paid at", Type: schemas.Type{Kind: schemas.Timestamp}},
		{Name: "day", Type: schemas.Type{Kind: schemas.Date}},
		{Name: "local", Type: schemas.Type{Kind: schemas.DateTime}},
		{Name: "time", Type: schemas.Type{Kind: schemas.Time}},
		{Name: "raw", Type: schemas.Type{Kind: schemas.Bytes}},
		{Name: "doc", Type: schemas.Type{Kind: schemas.JSON}},
		{Name: "ok", Type: schemas.Type{Kind: schemas.Bool}},
	}
	return &schemas.Table{Source: "s", Schema: "shop", Name: "payments", Topic: "p.s.shop.payments", Columns: kinds, Key: []int{0}, Generation: 1}
}

func paymentRow(id int64) schemas.Row {
	return schemas.Row{
		schemas.IntCell(id), schemas.BytesCell(schemas.AppendTwos(nil, -1205)), schemas.IntCell(1_700_000_000_000_001), schemas.IntCell(19_000),
		schemas.IntCell(1_700_000_000_000_002), schemas.IntCell(3_600_000_003), schemas.BytesCell([]byte{0, 255}),
		schemas.BytesCell([]byte(`{"a":1.10}`)), schemas.IntCell(1),
	}
}

// topicsOf is a broker and a registry, with one table's generations on them.
type topicsOf struct {
	Topics
	t  *testing.T
	cl *kgo.Client
}

// newTopics makes the topics of the tables, whose schemas have the ids 1 and 2,
// 3 and 4, and so on.
func newTopics(t *testing.T, tables ...*schemas.Table) *topicsOf {
	t.Helper()
	known := map[uint32]string{}
	for i, table := range tables {
		known[uint32(2*i+1)], known[uint32(2*i+2)] = avro.KeySchema(table), avro.ValueSchema(table)
	}
	brokers := testkit.Kafka(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("x"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	for _, table := range tables {
		if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 2, 1, nil, table.Topic); err != nil {
			t.Fatal(err)
		}
	}
	schema := func(_ context.Context, id uint32) (string, error) {
		text, ok := known[id]
		if !ok {
			return "", errors.New("no such schema")
		}
		return text, nil
	}
	return &topicsOf{Topics{Cluster: kafka.Cluster{Brokers: brokers}, Schema: schema}, t, cl}
}

// send produces one transaction of changes of a table; its key's schema has the id.
func (w *topicsOf) send(end kgo.TransactionEndTry, id uint32, changes ...schemas.Change) {
	w.t.Helper()
	enc, err := avro.NewEncoder(changes[0].Table, "mariadb", id, id+1)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.cl.BeginTransaction(); err != nil {
		w.t.Fatal(err)
	}
	for i, c := range changes {
		r := &kgo.Record{Topic: c.Table.Topic, Partition: int32(i % 2)}
		if c.Op.IsData() {
			row := c.After
			if row == nil {
				row = c.Before
			}
			if r.Key, err = enc.AppendKey(nil, row); err != nil {
				w.t.Fatal(err)
			}
		}
		if r.Value, err = enc.AppendValue(nil, &c); err != nil {
			w.t.Fatal(err)
		}
		if err := w.cl.ProduceSync(w.t.Context(), r).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := kafka.EndTransaction(w.t.Context(), w.cl, end); err != nil {
		w.t.Fatal(err)
	}
}

func at(n uint64) schemas.Position { return schemas.Position{Epoch: 1, Major: n, Seq: 1} }

func TestHistoryIsWhatTheTopicSays(t *testing.T) {
	table := payments()
	w := newTopics(t, table)
	onlyKey := make(schemas.Row, len(table.Columns))
	onlyKey[0] = schemas.IntCell(2)
	create := schemas.Change{Table: table, Op: schemas.Create, Position: at(1), TsUs: 1_700_000_000_000_000, After: paymentRow(1)}
	w.send(kgo.TryCommit, 1, create, schemas.Change{Table: table, Op: schemas.Watermark, Position: at(1)})
	w.send(kgo.TryAbort, 1, schemas.Change{Table: table, Op: schemas.Create, Position: at(9), After: paymentRow(9)})
	w.send(kgo.TryCommit, 1, // the first again, as after a crash
		create, schemas.Change{Table: table, Op: schemas.Delete, Position: at(2), TsUs: 1_700_000_000_000_000, Before: onlyKey})

	r := newReplica(t)
	if err := w.History(t.Context(), r, table.Topic, "core.payments_history"); err != nil {
		t.Fatal(err)
	}
	got, err := r.Query(t.Context(), "SELECT * EXCLUDE (_load, _unset) FROM core.payments_history ORDER BY _pos")
	if err != nil {
		t.Fatal(err)
	}
	const moment = " 2023-11-14 22:13:20+00"
	equal(t, lines(got),
		`1 -12.05 2023-11-14 22:13:20.000001+00 2022-01-08 2023-11-14 22:13:20.000002 01:00:00.000003 \x00\xFF {"a":1.10} true c `+show(text(at(1)))+moment,
		"2 NULL NULL NULL NULL NULL NULL NULL NULL d "+show(text(at(2)))+moment)
	if got.Columns[2] != "paid at" || got.Types[1] != "DECIMAL(12,2)" || got.Types[4] != "TIMESTAMP" {
		t.Errorf("the columns are %v, of %v", got.Columns, got.Types)
	}

	platform := &fake{Replica: newReplica(t)}
	if err := platform.CopyTable(t.Context(), &fake{Replica: r}, "core.payments_history"); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range []string{
		"SELECT 1", "DELETE FROM " + platform.table("core.payments_history") + " WHERE _op = 'd'",
		"UPDATE " + platform.table("core.payments_history") + " SET _unset = ',amount,'",
	} {
		if err := platform.exec(t.Context(), spoil); err != nil {
			t.Fatal(err)
		}
		report, err := CompareHistory(t.Context(), platform, r, "core.payments_history")
		if err != nil || len(report.Differences) != want {
			t.Errorf("%s: %v, %v", spoil, report.Differences, err)
		}
	}
}

func text(p schemas.Position) *string {
	s := p.String()
	return &s
}

// historian is a platform whose history takes loads while it is looked at.
type historian struct {
	*Replica
	loads []string // what the next looks come after
	load  int64
}

func (h *historian) Status(ctx context.Context) (*page.Status, error) {
	if len(h.loads) > 0 {
		if err := h.exec(ctx, h.loads[0]); err != nil {
			return nil, err
		}
		h.loads, h.load = h.loads[1:], h.load+1
	}
	return &page.Status{Core: []page.Core{{Table: "core.h", Load: h.load}}}, nil
}

// A number becomes text, and later a decimal; its digits become more, which is
// no other form.
func TestHistoryOfSeveralGenerations(t *testing.T) {
	t.Parallel()
	number := schemas.Column{Name: "id", Type: schemas.Type{Kind: schemas.Int}}
	version := func(topic string, columns ...schemas.Column) *schemas.Table {
		return &schemas.Table{
			Source: "s", Schema: "shop", Name: "t", Topic: topic, Generation: 1, Key: []int{0},
			Columns: append([]schemas.Column{number}, columns...),
		}
	}
	kind := func(name string, k schemas.Kind, precision, scale int) schemas.Column {
		return schemas.Column{Name: name, Type: schemas.Type{Kind: k, Precision: precision, Scale: scale}}
	}
	tables := []*schemas.Table{
		version("p.s.shop.t", kind("driver", schemas.Int, 0, 0), kind("amount", schemas.Decimal, 8, 2)),
		version("p.s.shop.t.g2", kind("driver", schemas.String, 0, 0), kind("amount", schemas.Decimal, 10, 4)),
		version("p.s.shop.t.g3", kind("amount", schemas.Decimal, 10, 4), kind("driver", schemas.Decimal, 6, 1)),
		version("p.s.shop.tt", kind("driver", schemas.Int, 0, 0)), // of somebody else
	}
	w := newTopics(t, tables...)
	cents := func(n int64) schemas.Cell { return schemas.BytesCell(schemas.AppendTwos(nil, n)) }
	for i, row := range []schemas.Row{
		{schemas.IntCell(1), schemas.IntCell(7), cents(1250)},
		{schemas.IntCell(1), schemas.BytesCell([]byte("D-7")), cents(125_001)},
		{schemas.IntCell(1), cents(130_000), cents(75)},
		{schemas.IntCell(9), schemas.IntCell(9)},
	} {
		w.send(kgo.TryCommit, uint32(2*i+1), schemas.Change{
			Table: tables[i], Op: schemas.Create, Position: at(uint64(i + 1)), TsUs: 1_700_000_000_000_000, After: row,
		})
	}
	r := newReplica(t)
	for _, topic := range []string{"p.s.shop.t", "p.s.shop.t.g3"} {
		if err := w.History(t.Context(), r, topic, "core.h"); err != nil {
			t.Fatal(err)
		}
		got, err := r.Query(t.Context(), "SELECT id, driver__g1, driver__g2, driver, amount, _op FROM core.h ORDER BY _pos")
		if err != nil {
			t.Fatal(err)
		}
		equal(t, lines(got), "1 7 NULL NULL 12.5000 c", "1 NULL D-7 NULL 12.5001 c", "1 NULL NULL 7.5 13.0000 c")
		if want := "[BIGINT BIGINT VARCHAR DECIMAL(6,1) DECIMAL(10,4) VARCHAR]"; fmt.Sprint(got.Types) != want {
			t.Errorf("the types are %v, want %s", got.Types, want)
		}
	}
	p := &historian{Replica: newReplica(t)}
	if err := p.CopyTable(t.Context(), &fake{Replica: r}, "core.h"); err != nil {
		t.Fatal(err)
	}
	check := func(want ...string) {
		t.Helper()
		report, err := w.CheckHistory(t.Context(), p, r, "p.s.shop.t", "core.h", nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range report.Differences {
			got = append(got, d.Text)
		}
		equal(t, got, want...)
	}
	check()
	rows := p.table("core.h")
	if err := p.exec(t.Context(), "CREATE TABLE late AS FROM "+rows+"; DELETE FROM "+rows); err != nil {
		t.Fatal(err)
	}
	p.loads = []string{"INSERT INTO " + rows + " FROM late WHERE driver__g1 = 7", "INSERT INTO " + rows + " FROM late WHERE driver__g1 IS NULL"}
	check() // the rest was on its way
	if err := p.exec(t.Context(), "UPDATE "+rows+" SET driver__g2 = 'D-8', driver__g1 = NULL"); err != nil {
		t.Fatal(err)
	}
	check("driver__g1 should be 7, is NULL; driver__g2 should be NULL, is D-8", "driver__g2 should be D-7, is D-8", "driver__g2 should be NULL, is D-8")
}
