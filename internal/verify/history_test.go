package verify

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

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

func TestHistoryIsWhatTheTopicSays(t *testing.T) {
	table := payments()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		schema, ok := map[string]string{"/schemas/ids/1": avro.KeySchema(table), "/schemas/ids/2": avro.ValueSchema(table)}[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"schema": schema})
	}))
	defer registry.Close()
	brokers := testkit.Kafka(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("x"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 2, 1, nil, table.Topic); err != nil {
		t.Fatal(err)
	}
	enc, err := avro.NewEncoder(table, "mariadb", 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	at := func(n uint64) schemas.Position { return schemas.Position{Epoch: 1, Major: n, Seq: 1} }
	onlyKey := make(schemas.Row, len(table.Columns))
	onlyKey[0] = schemas.IntCell(2)
	create := schemas.Change{Table: table, Op: schemas.Create, Position: at(1), TsUs: 1_700_000_000_000_000, After: paymentRow(1)}
	send := func(end kgo.TransactionEndTry, changes ...schemas.Change) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i, c := range changes {
			r := &kgo.Record{Topic: table.Topic, Partition: int32(i % 2)}
			if c.Op.IsData() {
				row := c.After
				if row == nil {
					row = c.Before
				}
				if r.Key, err = enc.AppendKey(nil, row); err != nil {
					t.Fatal(err)
				}
			}
			if r.Value, err = enc.AppendValue(nil, &c); err != nil {
				t.Fatal(err)
			}
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	send(kgo.TryCommit, create, schemas.Change{Table: table, Op: schemas.Watermark, Position: at(1)})
	send(kgo.TryAbort, schemas.Change{Table: table, Op: schemas.Create, Position: at(9), After: paymentRow(9)})
	send(kgo.TryCommit, // the first again, as after a crash
		create, schemas.Change{Table: table, Op: schemas.Delete, Position: at(2), TsUs: 1_700_000_000_000_000, Before: onlyKey})

	r := newReplica(t)
	if err := (Topics{Brokers: brokers, Registry: registry.URL}).History(t.Context(), r, table.Topic, "core.payments_history"); err != nil {
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
	for want, spoil := range []string{"SELECT 1", "DELETE FROM " + platform.table("core.payments_history") + " WHERE _op = 'd'"} {
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
