package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"millrace/internal/testkit"
	"millrace/producers"
	"millrace/schemas"
)

func TestValidateReportsEveryFault(t *testing.T) {
	c := &Config{DSN: "postgres://u:secret@host:notaport/db", Tables: []TableConfig{{Name: "orders"}, {Name: "public.a", Key: []string{"x", "x"}}, {Name: "public.a"}}}
	err := c.Validate()
	if err == nil {
		t.Fatal("no fault")
	}
	for _, w := range []string{"dsn", "schema.table", `"x" twice`, "stands twice"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("%q tells the password", err)
	}
	if err := new(Config).Validate(); err == nil || !strings.Contains(err.Error(), "is missing") || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an empty section: %v", err)
	}
	if err := (&Config{DSN: "postgres://u@h/d", Tables: []TableConfig{{Name: "public.a.b"}}}).Validate(); err != nil {
		t.Errorf("a name with a dot: %v", err)
	}
}

func TestSlotName(t *testing.T) {
	if name, err := slotName("Shop", "orders-db.EU"); err != nil || name != "shop_orders_db_eu" {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := slotName(strings.Repeat("x", 60), "orders"); err == nil {
		t.Error("a name of more than 63 characters was taken")
	}
}

func TestConnectFaults(t *testing.T) {
	dsn := testkit.PostgresDatabase(t)
	at := func(change func(*url.URL)) string {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	open := func(dsn string) error {
		c := captureWith(t, dsn)
		return c.tryOpen()
	}
	halted(t, open(at(func(u *url.URL) { u.Path = "/nowhere" })), "nowhere", "correct the database")
	halted(t, open(at(func(u *url.URL) { u.User = url.User("nobody") })), "nobody", "correct user and password")
	err := open(at(func(u *url.URL) { u.Host = "127.0.0.1:1" }))
	var h *producers.HaltError
	if err == nil || errors.As(err, &h) || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "check the host and port") {
		t.Errorf("a server that is away may be back: %v", err)
	}
	if n := strings.Count(err.Error(), "connection refused"); n != 1 {
		t.Errorf("the reason stands there %d times: %v", n, err)
	}
}

// captureWith is a capture without a session of its own.
func captureWith(t *testing.T, dsn string, tables ...string) *capture {
	c := &capture{db: &db{t: t, dsn: dsn}, cfg: &Config{DSN: dsn}, start: producers.Start{Epoch: 1, Tables: map[string]producers.TableVersion{}}}
	for _, name := range append(tables, "fence") {
		c.cfg.Tables = append(c.cfg.Tables, TableConfig{Name: "public." + name})
	}
	t.Cleanup(c.close)
	return c
}

func TestWalLevel(t *testing.T) {
	srv := testkit.Postgres(t, "-c", "wal_level=replica")
	c := captureOn(t, srv.DSN(""), "")
	halted(t, c.tryOpen(), "wal_level is replica", "ALTER SYSTEM SET wal_level = 'logical'")
}

func TestRoleFaults(t *testing.T) {
	dsn := testkit.PostgresDatabase(t)
	admin := newDB(t, dsn)
	admin.exec("CREATE TABLE fence (id bigint PRIMARY KEY)", "CREATE TABLE t (id int PRIMARY KEY)")
	role := fmt.Sprintf("role_%s", admin.one("SELECT current_database()"))
	admin.exec("CREATE ROLE " + role + " LOGIN")
	t.Cleanup(func() { admin.exec("DROP OWNED BY "+role+" CASCADE", "DROP ROLE "+role) })
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	open := func() (*capture, error) {
		c := captureWith(t, u.String(), "t")
		return c, c.tryOpen()
	}
	// Every cure, run as it is written, leads to the next fault, and at last to none.
	_, err = open()
	h := halted(t, err, "replication", "ALTER ROLE")
	admin.exec(h.Hint)
	c, err := open()
	halted(t, err, "no table is left")
	for _, h := range c.halts {
		halted(t, h, "may not read", "GRANT SELECT")
		admin.exec(h.Hint)
	}
	_, err = open()
	h = halted(t, err, "publication", "run as a role that may: CREATE PUBLICATION")
	admin.exec(strings.TrimPrefix(h.Hint, "run as a role that may: "))
	if c, err = open(); err != nil {
		t.Fatal(err)
	}
	if len(c.halts) > 0 {
		t.Fatal(c.halts[0])
	}
	admin.exec("INSERT INTO t VALUES (1)")
	c.until("the row", func(producers.Batch) bool { return len(c.of("t")) == 1 })
	// Row security would hide rows in silence.
	admin.exec("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
	_, _, err = c.chunk("t")
	halted(t, err, "row-level security", "BYPASSRLS")
}

func TestTableFaults(t *testing.T) {
	c := newCapture(t, "missing v nokey u g nullable absent k", "CREATE VIEW v AS SELECT 1 AS id", "CREATE TABLE nokey (a int)",
		"CREATE UNLOGGED TABLE u (id int PRIMARY KEY)", "CREATE TABLE g (id int, g int GENERATED ALWAYS AS (id) STORED PRIMARY KEY)",
		"CREATE TABLE nullable (id int PRIMARY KEY, email text UNIQUE); ALTER TABLE nullable REPLICA IDENTITY FULL",
		"CREATE TABLE absent (id int PRIMARY KEY)", "CREATE TABLE k (a int[] PRIMARY KEY)")
	for i := range c.cfg.Tables {
		switch c.cfg.Tables[i].Name {
		case "public.nullable":
			c.cfg.Tables[i].Key = []string{"email"}
		case "public.absent":
			c.cfg.Tables[i].Key = []string{"id", "other"}
		}
	}
	c.open()
	want := map[string][]string{
		"public.missing":  {"does not exist", "create it"},
		"public.v":        {"a view"},
		"public.nokey":    {"no primary key", "ADD PRIMARY KEY", "REPLICA IDENTITY FULL"},
		"public.u":        {"unlogged", "SET LOGGED"},
		"public.g":        {"generated"},
		"public.nullable": {"may be null", `ALTER COLUMN "email" SET NOT NULL`},
		"public.absent":   {"no unique index", "CREATE UNIQUE INDEX"},
		"public.k":        {"array", "text: [a]"},
	}
	for _, h := range c.halts {
		halted(t, h, want[h.Table]...)
		delete(want, h.Table)
	}
	if len(want) > 0 {
		t.Errorf("nothing was said of %v", want)
	}
	c.sync()
	// What is refused must not be published: its own updates would fail.
	c.exec("INSERT INTO nokey VALUES (1)", "UPDATE nokey SET a = 2")
	if got := c.column("SELECT c.relname::text FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid ORDER BY 1"); strings.Join(got, " ") != "fence k" {
		t.Errorf("published: %v", got)
	}
}

func TestSlotAndLineageFaults(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY)").open()
	c.sync()
	old := c.resume
	c.close()
	c.resumeAt()
	with := func(change func(*token)) error {
		tk, err := parseToken(old)
		if err != nil {
			t.Fatal(err)
		}
		lsn := tk.lsn
		change(&tk)
		if tk.lsn != lsn {
			lsn = tk.lsn
		}
		c.start.Token = tk.at(lsn)
		return c.tryOpen()
	}
	halted(t, with(func(tk *token) { tk.System = "42" }), "system id 42", "checkpoint")
	halted(t, with(func(tk *token) { tk.Timeline = 7 }), "timeline 7")
	halted(t, with(func(tk *token) { tk.lsn += 1 << 40 }), "log ends at")
	c.start.Token = "garbage"
	if err := c.tryOpen(); err == nil {
		t.Error("a token of garbage was taken")
	}
	c.start.Token = old
	c.exec("INSERT INTO t VALUES (1)", "SELECT pg_replication_slot_advance('pg_orders_db', pg_current_wal_lsn())")
	halted(t, c.tryOpen(), "is ahead", "raise `epoch`")
	c.exec("SELECT pg_drop_replication_slot('pg_orders_db')")
	halted(t, c.tryOpen(), "does not exist any more", "every table is snapshotted")
	c.exec("SELECT pg_create_logical_replication_slot('pg_orders_db', 'test_decoding')")
	halted(t, c.tryOpen(), "test_decoding")
	// Given up: from now on, with a snapshot, whatever slot is left.
	c.start.Token = ""
	c.open()
	c.sync()
	c.raised("t")
}

func TestSlotLostItsLog(t *testing.T) {
	srv := testkit.Postgres(t, "-c", "max_slot_wal_keep_size=1MB", "-c", "max_wal_size=32MB", "-c", "min_wal_size=32MB")
	c := captureOn(t, srv.DSN(""), "", "CREATE TABLE other (v text)")
	c.open()
	c.sync()
	c.close()
	c.resumeAt()
	for range 40 {
		c.exec("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 5000)", "SELECT pg_switch_wal()", "CHECKPOINT")
		if c.one("SELECT wal_status FROM pg_replication_slots") == "lost" {
			break
		}
	}
	halted(t, c.tryOpen(), "lost its log", "max_slot_wal_keep_size")
}

func TestSlotInUse(t *testing.T) {
	c := newCapture(t, "").open()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := c.cfg.Open(ctx, c.start, producers.Env{Log: slog.New(slog.DiscardHandler), Source: "Orders-DB", Prefix: "pg", Topic: func(string, string, int) string { return "" }})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a slot in use is waited for; got %v", err)
	}
	c.sync()
}

// The slot of a chunk waits for every open transaction that has written; that
// is said, and it is no fault of the table.
func TestSlotWaitsForLongTransactions(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY)").open()
	c.sync()
	long := connect(t, c.dsn)
	if _, err := long.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	c.src.snapshots.wait = 300 * time.Millisecond
	_, _, err := c.chunk("t")
	if !errors.Is(err, errSlowSlot) || !strings.Contains(err.Error(), "pg_stat_activity") {
		t.Fatalf("got %v", err)
	}
	if _, err := long.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	c.src.snapshots.wait = slotWait
	if rows, _, err := c.chunk("t"); err != nil || lines(rows) != "r 1" {
		t.Fatalf("%s, %v", lines(rows), err)
	}
}

// A value that its column cannot hold stops its table, loudly, and no other;
// once cured, the table is snapshotted.
func TestValuesHaltTheirTable(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, at date)").open()
	c.exec("INSERT INTO t VALUES (1, '2026-01-01')", "INSERT INTO t VALUES (2, 'infinity')", "INSERT INTO t VALUES (3, '2026-01-03')")
	c.sync()
	c.want("t", "c 1|20454")
	if len(c.halts) != 1 {
		t.Fatalf("%d halts", len(c.halts))
	}
	halted(t, c.halts[0], "public.t", "id=2", "column at", `"infinity"`, "text: [at]")
	_, _, err := c.chunk("t")
	halted(t, err, "public.t", "id=2", "column at", `"infinity"`)
	// The cure: the column as text.
	for i := range c.cfg.Tables {
		if c.cfg.Tables[i].Name == "public.t" {
			c.cfg.Tables[i].Text = []string{"at"}
		}
	}
	c.halts = nil
	c.reopen()
	c.sync()
	c.raised("t")
	rows, _, err := c.chunk("t")
	if err != nil || lines(rows) != "r 1|2026-01-01, r 2|infinity, r 3|2026-01-03" {
		t.Fatalf("%s, %v", lines(rows), err)
	}
	c.exec("UPDATE t SET at = '-infinity' WHERE id = 1")
	c.sync()
	c.want("t", "u 1|-infinity")
	if len(c.halts) > 0 {
		t.Fatal(c.halts[0])
	}
}

// The connection is cut in the middle of a transaction: after every token the
// rest comes with the same positions (G3).
func TestConnectionCutInATransaction(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, v text)").open()
	c.sync()
	c.resumeAt()
	c.exec("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 30000) i", "UPDATE t SET id = id + 100000 WHERE id <= 100")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(c.of("t")) == 0 {
		if _, err := c.next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	c.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = 'millrace' AND state = 'streaming'" +
		" AND pid = (SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'pg_orders_db' AND database = current_database())")
	for {
		if _, err := c.next(ctx); err != nil {
			if ctx.Err() != nil {
				t.Fatal("Next hangs on a connection that was cut")
			}
			break
		}
	}
	first := c.of("t")
	if c.resume != c.start.Token && len(first) < 30000 {
		t.Fatal("a token inside a transaction")
	}
	c.close()
	c.changes = nil
	c.open()
	c.sync()
	again := c.of("t")
	if len(again) != 30200 {
		t.Fatalf("%d changes", len(again))
	}
	for i, ch := range first {
		if again[i].Position != ch.Position || again[i].TxOrder != ch.TxOrder || again[i].TsUs != ch.TsUs || rowText(ch.Table, ch.After) != rowText(again[i].Table, again[i].After) {
			t.Fatalf("change %d: first %v %s, then %v %s", i, ch.Position, rowText(ch.Table, ch.After), again[i].Position, rowText(again[i].Table, again[i].After))
		}
	}
}

func TestServerKilledInTheStream(t *testing.T) {
	srv := testkit.Postgres(t)
	c := captureOn(t, srv.DSN(""), "t", "CREATE TABLE t (id int PRIMARY KEY, v text)").open()
	c.sync()
	c.resumeAt()
	c.exec("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 20000) i")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.next(ctx); err != nil {
		t.Fatal(err)
	}
	srv.Kill()
	for {
		if _, err := c.next(ctx); err != nil {
			break
		}
	}
	if _, _, err := c.chunk("t"); err == nil {
		t.Fatal("rows from a server that is gone")
	}
	c.close()
	if err := c.tryOpen(); err == nil || !strings.Contains(err.Error(), "check the host and port") {
		t.Fatalf("got %v", err)
	}
	srv.Start()
	c.db = newDB(t, srv.DSN(""))
	c.changes = nil
	c.open()
	c.sync()
	if got := len(c.of("t")); got != 20000 {
		t.Fatalf("%d changes", got)
	}
	if rows, _, err := c.chunk("t"); err != nil || len(rows) != 20000 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
}

// A server that is shut down waits until its log was read, not until it was
// acknowledged: a checkpoint may be minutes away.
func TestServerStopsWhileNothingIsAcknowledged(t *testing.T) {
	srv := testkit.Postgres(t)
	c := captureOn(t, srv.DSN(""), "t", "CREATE TABLE t (id int PRIMARY KEY)").open()
	c.exec("INSERT INTO t VALUES (1)")
	c.sync()
	if err := c.src.Ack(t.Context(), c.resume); err != nil {
		t.Fatal(err)
	}
	c.resumeAt()
	c.exec("INSERT INTO t VALUES (2)")
	c.sync()
	stopped := make(chan struct{})
	go func() { defer close(stopped); srv.Stop() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if _, err := c.next(ctx); err != nil {
			break
		}
	}
	<-stopped
	if log := srv.Log(); strings.Contains(log, "immediate shutdown") || !strings.Contains(log, "database system is shut down") {
		t.Fatalf("the server did not stop in order:\n%s", log)
	}
	c.close()
	srv.Start()
	c.db = newDB(t, srv.DSN(""))
	c.changes = nil
	c.open()
	c.sync()
	c.want("t", "c 2") // the shutdown acknowledged nothing
}

func TestTokenText(t *testing.T) {
	tk := token{System: "7711275188639193737", Timeline: 2}
	text := tk.at(0x1_2345_6789)
	got, err := parseToken(text)
	if err != nil || got.lsn != 0x1_2345_6789 || got.System != tk.System || got.Timeline != 2 {
		t.Fatalf("%s became %+v, %v", text, got, err)
	}
	for _, bad := range []schemas.Token{"", "{}", `{"lsn":"0/0"}`, `{"lsn":"x"}`} {
		if _, err := parseToken(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := pglogrepl.ParseLSN(got.LSN); err != nil {
		t.Error(err)
	}
}

// Of the cures, the one that harms nobody comes first.
func TestTheCureOfASlotInUse(t *testing.T) {
	text := slotInUse("millrace_orders", 4711).Error()
	prefix, kill := strings.Index(text, "give this one another prefix"), strings.Index(text, "if none runs, its producer died unseen: SELECT pg_terminate_backend(4711)")
	if prefix < 0 || kill < prefix {
		t.Errorf("got %q", text)
	}
}
