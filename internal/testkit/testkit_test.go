package testkit_test

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/testkit"
)

func TestSharedServersGiveEachTestADatabase(t *testing.T) {
	for name, database := range map[string]func(testing.TB) string{
		"postgres": testkit.PostgresDatabase, "mariadb": testkit.MariaDBDatabase, "mysql": testkit.MySQLDatabase,
	} {
		t.Run(name, func(t *testing.T) {
			one, two := testkit.Open(t, database(t)), testkit.Open(t, database(t))
			if _, err := one.ExecContext(t.Context(), "CREATE TABLE t (id int PRIMARY KEY)"); err != nil {
				t.Fatal(err)
			}
			if _, err := two.ExecContext(t.Context(), "SELECT * FROM t"); err == nil {
				t.Error("two tests see the same tables")
			}
		})
	}
}

func TestPostgresDatabaseIsDroppedWithItsSlots(t *testing.T) {
	var dsn string
	t.Run("inner", func(t *testing.T) {
		dsn = testkit.PostgresDatabase(t)
		db := testkit.Open(t, dsn)
		if _, err := db.ExecContext(t.Context(), "SELECT pg_create_logical_replication_slot('left_over', 'pgoutput')"); err != nil {
			t.Fatal(err)
		}
	})
	if err := testkit.Open(t, dsn).PingContext(t.Context()); err == nil {
		t.Error("the database is still there")
	}
	var n int
	row := testkit.Open(t, testkit.PostgresDatabase(t)).QueryRowContext(t.Context(), "SELECT count(*) FROM pg_replication_slots")
	if err := row.Scan(&n); err != nil || n != 0 {
		t.Errorf("%d slots are left over, error %v", n, err)
	}
}

func TestOwnServerTakesArgumentsAndComesBack(t *testing.T) {
	srv := testkit.Postgres(t, "-c", "max_slot_wal_keep_size=64MB")
	dsn := srv.CreateDatabase("shop")
	if _, err := testkit.Open(t, dsn).ExecContext(t.Context(), "CREATE TABLE t (id int)"); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(){srv.Kill, srv.Stop} {
		end()
		srv.Start()
		var kept string
		row := testkit.Open(t, dsn).QueryRowContext(t.Context(), "SELECT current_setting('max_slot_wal_keep_size') FROM (SELECT count(*) FROM t) AS rows")
		if err := row.Scan(&kept); err != nil || kept != "64MB" {
			t.Errorf("got %q, %v", kept, err)
		}
	}
}

func TestDriverDSN(t *testing.T) {
	got, err := testkit.DriverDSN("mysql://me:p%40ss@127.0.0.1:3306/shop")
	if err != nil {
		t.Fatal(err)
	}
	if want := "me:p@ss@tcp(127.0.0.1:3306)/shop?multiStatements=true&parseTime=true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestKafkaMakesNoTopicByItself(t *testing.T) {
	client, err := kgo.NewClient(kgo.SeedBrokers(testkit.Kafka(t)...), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "unknown"}).FirstErr(); err == nil {
		t.Error("an unknown topic took a record")
	}
	adm := kadm.NewClient(client)
	if _, err := adm.CreateTopic(context.Background(), 2, 1, nil, "known"); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "known"}).FirstErr(); err != nil {
		t.Error(err)
	}
}
