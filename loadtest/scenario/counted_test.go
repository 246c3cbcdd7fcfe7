package scenario

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/config"
	"millrace/internal/kafka"
	"millrace/internal/testkit"
	"millrace/loadtest/measure"
)

// Changes that later ones hide are found by their number.
func TestChangesAreCounted(t *testing.T) {
	for _, c := range []struct {
		seen, made int64
		want       measure.Account
	}{{10, 10, measure.Account{}}, {8, 10, measure.Account{Lost: 2}}, {11, 10, measure.Account{Wrong: 1}}} {
		got := measure.Account{}
		countChanges(&got, c.seen, c.made)
		if got.Lost != c.want.Lost || got.Wrong != c.want.Wrong || got.OK() != (len(got.Examples) == 0) {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// What goes wrong between a source and its topics makes the run unsound: the source
// is changed when nothing listens any more, and a record is written once more.
func TestFaultsMakeARunUnsound(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts servers")
	}
	dsn, brokers := testkit.PostgresDatabase(t), testkit.Kafka(t)
	db := testkit.Open(t, dsn)
	f, err := Find("capture-postgres")
	if err != nil {
		t.Fatal(err)
	}
	f = f.With(little)
	f.Workload.Tables = 1
	spoilt := false
	result, err := Run(t.Context(), f, Options{
		Patience: 2 * time.Minute,
		Config:   &config.Config{Kafka: config.Kafka{Brokers: brokers}, Sources: map[string]config.Source{"a": {Kind: config.KindPostgres, DSN: dsn}}},
		Tell: func(p Progress) {
			if p.Phase != "account" || spoilt {
				return
			}
			spoilt = true
			spoilSource(t, db)
			repeatRecord(t, brokers)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := result.Figures; !spoilt || result.OK || got.Lost != 1 || got.Wrong != 2 || got.Duplicated != 1 {
		t.Errorf("spoilt: %v; %+v %q", spoilt, result, result.Detail.Examples)
	}
}

// spoilSource makes a row, removes one and changes one.
func spoilSource(t *testing.T, db *sql.DB) {
	t.Helper()
	var table string
	if err := db.QueryRowContext(t.Context(), "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'lt\\_%'").Scan(&table); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"CREATE TEMP TABLE one AS SELECT * FROM %t ORDER BY id LIMIT 1", "UPDATE one SET id = 99999999", "INSERT INTO %t SELECT * FROM one",
		"DELETE FROM %t WHERE id = (SELECT min(id) FROM %t)", "UPDATE %t SET created_at = created_at + interval '1 s' WHERE id = (SELECT min(id) FROM %t)",
	} {
		if _, err := db.ExecContext(t.Context(), strings.ReplaceAll(statement, "%t", table)); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// repeatRecord writes a change to its topic once more.
func repeatRecord(t *testing.T, brokers []string) {
	t.Helper()
	cluster := kafka.Cluster{Brokers: brokers}
	client, err := kgo.NewClient(append(append(cluster.ClientOpts("test", nil, nil), cluster.ConsumerOpts()...),
		kgo.ConsumeRegex(), kgo.ConsumeTopics(`^lt_.*_t1$`), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			if r.Key == nil || !isChange(r) {
				continue
			}
			again := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}
			if err := client.ProduceSync(t.Context(), again).FirstErr(); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

func isChange(r *kgo.Record) bool {
	for _, h := range r.Headers {
		if h.Key == "op" {
			return string(h.Value) == "c" || string(h.Value) == "u"
		}
	}
	return false
}
