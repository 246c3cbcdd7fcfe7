package mysql_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/producers"
	"millrace/producers/mysql"
)

func TestValidate(t *testing.T) {
	const dsn = "mysql://u:secret@h:1/db"
	table := []mysql.Table{{Name: "db.t"}}
	for name, c := range map[string]struct {
		cfg  mysql.Config
		want []string
	}{
		"good":      {mysql.Config{DSN: dsn, Tables: table}, nil},
		"tls":       {mysql.Config{DSN: dsn + "?tls=true", Tables: table}, nil},
		"no DSN":    {mysql.Config{Tables: table}, []string{`dsn: want mysql://user:password@host:port/db, not the scheme ""`}},
		"scheme":    {mysql.Config{DSN: "postgres://u:secret@h/db", Tables: table}, []string{`not the scheme "postgres"`}},
		"no user":   {mysql.Config{DSN: "mysql://h:1/db", Tables: table}, []string{"host or user is missing"}},
		"no URL":    {mysql.Config{DSN: "mysql://u:sec%ret@h:1/db", Tables: table}, []string{"dsn: want"}},
		"parameter": {mysql.Config{DSN: dsn + "?tls=maybe", Tables: table}, []string{"tls=maybe is not known"}},
		"no tables": {mysql.Config{DSN: dsn}, []string{"tables: empty"}},
		"names": {
			mysql.Config{DSN: dsn, Tables: []mysql.Table{{Name: "t"}, {Name: "a.b.c"}, {Name: "mysql.user"}, {Name: "db.t"}, {Name: "db.t"}}},
			[]string{`"t" is not database.table`, `"a.b.c" is not`, `"mysql.user" belongs to the server`, `"db.t" is named twice`},
		},
		"keys": {
			mysql.Config{DSN: dsn, Tables: []mysql.Table{{Name: "db.t", Key: []string{"a", "a"}}, {Name: "db.u", Key: []string{"a"}, AppendOnly: true}}},
			[]string{`db.t: key: column "a" is empty or named twice`, "db.u: append_only and key exclude each other"},
		},
		"zero dates": {mysql.Config{DSN: dsn, Tables: []mysql.Table{{Name: "db.t", ZeroDates: "now"}}}, []string{`zero_dates: "now" is not null`}},
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in: %v", name, want, err)
			}
		}
		if err != nil && strings.Contains(err.Error(), "sec") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}

func TestServersThatDoNotLogEnoughAreRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("logging"), nil)
		for _, v := range []struct{ name, bad, good string }{
			{"binlog_format", "MIXED", "ROW"},
			{"binlog_row_image", "MINIMAL", "FULL"},
			{"binlog_row_metadata", f.metadata, "FULL"},
		} {
			c.exec("SET GLOBAL " + v.name + " = '" + v.bad + "'")
			wantHalt(t, c.tryOpen(), "", v.name+"="+v.bad, "SET GLOBAL "+v.name+" = '"+v.good+"'")
		}
		// All three faults are said at once.
		wantHalt(t, c.tryOpen(), "", "binlog_format", "binlog_row_image", "binlog_row_metadata")
	})
}

func TestServerWithoutBinlogIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t, "--skip-log-bin")
		c := newCapture(t, f, srv.CreateDatabase("nolog"), nil)
		wantHalt(t, c.tryOpen(), "", "log_bin", "restart")
	})
}

func TestDatabasesOutsideTheLogAreRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t, "--binlog-ignore-db=hidden")
		c := newCapture(t, f, srv.CreateDatabase("hidden"), nil)
		c.open()
		if len(c.halts) != 1 {
			t.Fatalf("halts: %v", c.halts)
		}
		wantHalt(t, c.halts[0], "hidden.fence", "out of its binlog", "binlog_ignore_db")
	})
}

func TestWrongDSN(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("login"), nil, "CREATE USER nobody@'%' IDENTIFIED BY 'right'")
		addr := srv.Addr()
		c.cfg.DSN = "mysql://nobody:wrong@" + addr + "/"
		wantHalt(t, c.tryOpen(), "", addr, "correct user and password")
		c.cfg.DSN = strings.Replace(srv.DSN("login"), "/login", "/absent", 1)
		wantHalt(t, c.tryOpen(), "", "absent", "correct the database")
		c.cfg.DSN = "mysql://nobody:right@" + addr + "/login"
		err := c.tryOpen()
		wantHalt(t, err, "", "to database 'login'", "correct the database", "grant the user SELECT")
		if strings.Contains(err.Error(), "password in dsn") {
			t.Errorf("a user that was let in is told to correct the password: %v", err)
		}
		c.cfg.DSN = "mysql://root@127.0.0.1:1/"
		err = c.tryOpen()
		if err == nil || !strings.Contains(err.Error(), "connect to 127.0.0.1:1") || !strings.Contains(err.Error(), "check host and port") {
			t.Fatalf("an unreachable server: %v", err)
		}
		if strings.Contains(err.Error(), "halted") {
			t.Errorf("a server that may come back halts: %v", err)
		}
	})
}

// What is at the port of another kind of server waits for the client to speak,
// or says something else first.
func TestPortOfAnotherServer(t *testing.T) {
	for what, greeting := range map[string]string{"silent": "", "another protocol": "SSH-2.0-x\r\n"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var serves sync.WaitGroup
		serves.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Write([]byte(greeting))
			}
		})
		config := &mysql.Config{DSN: "mysql://root@" + listener.Addr().String() + "/", Tables: []mysql.Table{{Name: "a.b"}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = config.Survey(ctx, producers.Env{Source: "s", Prefix: "p", Log: slog.New(slog.DiscardHandler)})
		cancel()
		_ = listener.Close()
		serves.Wait()
		if err == nil || !strings.Contains(err.Error(), "does not speak MariaDB's or MySQL's protocol") || !strings.Contains(err.Error(), "check host and port") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestMissingPrivilegesNameTheirGrant(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("priv"), nil, "CREATE USER cdc@'%' IDENTIFIED BY 'x'")
		c.cfg.DSN = "mysql://cdc:x@" + srv.Addr() + "/"
		steps := []struct{ missing, grant string }{
			{"GRANT " + f.monitor + " ON *.* TO `cdc`@`%`", "GRANT " + f.monitor + " ON *.* TO cdc@'%'"},
			{"GRANT REPLICATION SLAVE ON *.* TO `cdc`@`%`", "GRANT REPLICATION SLAVE ON *.* TO cdc@'%'"},
		}
		if f.name == "mysql" {
			steps = slices.Insert(steps, 1, struct{ missing, grant string }{"GRANT XA_RECOVER_ADMIN ON *.* TO `cdc`@`%`", "GRANT XA_RECOVER_ADMIN ON *.* TO cdc@'%'"})
		}
		for _, step := range steps {
			wantHalt(t, c.tryOpen(), "", step.missing)
			c.exec(step.grant)
		}
		c.halts = nil
		c.open()
		if len(c.halts) != 1 {
			t.Fatalf("halts: %v", c.halts)
		}
		wantHalt(t, c.halts[0], "priv.fence", "GRANT SELECT ON `priv`.`fence` TO `cdc`@`%`")
		c.close()
		c.exec("GRANT SELECT ON priv.fence TO cdc@'%'")
		c.halts = nil
		c.open()
		c.ready()
		c.sync()
		if len(c.halts) > 0 {
			t.Errorf("with every privilege: %v", c.halts)
		}
	})
}

// Every table that cannot be captured is reported with its cure; the others go
// on.
func TestTablesThatCannotBeCaptured(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		type refusal struct {
			table mysql.Table
			sql   []string
			words []string
		}
		cases := []refusal{
			{mysql.Table{Name: "absent"}, nil, []string{"doesn't exist", "create it"}},
			{mysql.Table{Name: "nokey"}, []string{"CREATE TABLE nokey (a INT)"}, []string{"no primary key", "ADD PRIMARY KEY"}},
			{mysql.Table{Name: "nullkey", Key: []string{"a"}}, []string{"CREATE TABLE nullkey (a INT UNIQUE)"}, []string{"no unique key of NOT NULL columns", "ADD UNIQUE KEY (`a`)"}},
			{mysql.Table{Name: "prefix"}, []string{"CREATE TABLE prefix (a VARCHAR(50), PRIMARY KEY (a(10)))"}, []string{"no primary key"}},
			{mysql.Table{Name: "seen"}, []string{"CREATE VIEW seen AS SELECT 1 AS a"}, []string{"it is a view"}},
			{mysql.Table{Name: "isam"}, []string{"CREATE TABLE isam (a INT PRIMARY KEY) ENGINE=MyISAM"}, []string{"no transactions", "ENGINE=InnoDB"}},
		}
		if f.name == "mariadb" {
			cases = append(cases, []refusal{
				{mysql.Table{Name: "counter"}, []string{"CREATE SEQUENCE counter"}, []string{"it is a sequence"}},
				{mysql.Table{Name: "history"}, []string{"CREATE TABLE history (a INT PRIMARY KEY) WITH SYSTEM VERSIONING"}, []string{"system-versioned", "DROP SYSTEM VERSIONING"}},
				{mysql.Table{Name: "packed"}, []string{"CREATE TABLE packed (a INT PRIMARY KEY, b TEXT COMPRESSED)"}, []string{`column "b"`, "COMPRESSED"}},
				{
					mysql.Table{Name: "child"},
					[]string{"CREATE TABLE parent (a INT PRIMARY KEY)", "CREATE TABLE child (a INT PRIMARY KEY, p INT, CONSTRAINT fk FOREIGN KEY (p) REFERENCES parent (a) ON DELETE CASCADE)"},
					[]string{"foreign key fk", "DROP FOREIGN KEY `fk`", "ignore_cascades"},
				},
			}...)
		}
		var tables []mysql.Table
		var stmts []string
		for _, c := range cases {
			tables, stmts = append(tables, c.table), append(stmts, c.sql...)
		}
		c := newCapture(t, f, f.database(t), tables, stmts...)
		c.open()
		c.ready()
		c.sync()
		for _, want := range cases {
			found := false
			for _, h := range c.halts {
				if h.Table == c.name(want.table.Name) {
					found = true
					wantHalt(t, h, c.name(want.table.Name), want.words...)
				}
			}
			if !found {
				t.Errorf("%s was not refused", want.table.Name)
			}
		}
		if len(c.halts) != len(cases) {
			t.Errorf("%d halts, want %d", len(c.halts), len(cases))
		}
	})
}

func TestWhatTheConfigurationAdmits(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		c := newCapture(t, f, f.database(t), []mysql.Table{
			{Name: "events", AppendOnly: true},
			{Name: "child", IgnoreCascades: true},
			{Name: "alt", Key: []string{"b", "a"}},
		}, "CREATE TABLE events (a INT)", "CREATE TABLE parent (a INT PRIMARY KEY)",
			"CREATE TABLE child (a INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (a) ON DELETE CASCADE)",
			"CREATE TABLE alt (id INT PRIMARY KEY, a INT NOT NULL, b INT NOT NULL, UNIQUE KEY (a, b))", "INSERT INTO events VALUES (1), (1)")
		c.open()
		c.ready()
		c.exec("INSERT INTO events VALUES (2)", "INSERT INTO child VALUES (1, NULL)", "INSERT INTO alt VALUES (1, 2, 3)", "UPDATE alt SET id = 5", "UPDATE alt SET b = 4")
		c.sync()
		if len(c.halts) > 0 {
			t.Fatalf("halted: %v", c.halts)
		}
		if got := c.text("events") + ", " + c.text("child") + ", " + c.text("alt"); got != "c:2, c:1:null, c:1:2 u:5:2 d:5:2 c:5:2" {
			t.Errorf("got %s", got)
		}
		events, alt := c.versionsOf("events")[0].Table, c.versionsOf("alt")[0].Table
		if len(events.Key) != 0 || len(alt.Key) != 2 || alt.Columns[alt.Key[0]].Name != "b" {
			t.Errorf("keys %v and %v", events.Key, alt.Key)
		}
		rows, chunk, err := c.chunk(events, nil, 1)
		if err != nil || len(rows) != 3 || !chunk.End {
			t.Errorf("a table without a key is read whole: %d rows, %+v, %v", len(rows), chunk, err)
		}
	})
}

// The server's settings may change while it is captured.
func TestMetadataSwitchedOffHaltsTheTable(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("meta"), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY)")
		c.open()
		c.ready()
		c.exec("SET GLOBAL binlog_row_metadata = '"+f.metadata+"'", "INSERT INTO t VALUES (1)")
		c.halted("t", "does not name the columns", "SET GLOBAL binlog_row_metadata = 'FULL'")
		if got := c.text("t"); got != "" {
			t.Errorf("changes %s", got)
		}
	})
}
