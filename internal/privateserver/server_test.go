package privateserver_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"millrace/internal/privateserver"
	"millrace/internal/testkit"
)

// TestMain is also the program that TestServersEndWithTheirProcess kills.
func TestMain(m *testing.M) {
	if kind := os.Getenv("PRIVATESERVER_OWNER"); kind != "" {
		owner(privateserver.Kind(kind))
	}
	h, err := privateserver.NewHome()
	if err != nil {
		panic(err)
	}
	shared = h
	code := m.Run()
	if err := h.Close(); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// shared is the home of every test that does not end one: the data folder of a
// kind is made once in a home, which takes MySQL seconds.
var shared *privateserver.Home

func owner(kind privateserver.Kind) {
	h, err := privateserver.NewHome()
	if err != nil {
		panic(err)
	}
	s, err := h.Start(context.Background(), kind)
	if err != nil {
		panic(err)
	}
	fmt.Println(s.SocketDir())
	select {}
}

var kinds = []privateserver.Kind{privateserver.Postgres, privateserver.MariaDB, privateserver.MySQL}

func eachKind(t *testing.T, test func(t *testing.T, h *privateserver.Home, kind privateserver.Kind, s *privateserver.Server)) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			s := start(t, shared, kind)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, shared, kind, s)
		})
	}
}

func newHome(t *testing.T) *privateserver.Home {
	t.Helper()
	h, err := privateserver.NewHome()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func start(t *testing.T, h *privateserver.Home, kind privateserver.Kind) *privateserver.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts a server")
	}
	s, err := h.Start(t.Context(), kind)
	var missing *privateserver.MissingError
	if errors.As(err, &missing) {
		testkit.Missing(t, missing.What, missing.Package)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func exec1(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func count(t *testing.T, db *sql.DB, query string) int {
	t.Helper()
	var n int
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func text(t *testing.T, s *privateserver.Server, query string) string {
	t.Helper()
	var out string
	if err := testkit.Open(t, s.DSN("")).QueryRowContext(t.Context(), query).Scan(&out); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

func TestKillKeepsWhatWasCommitted(t *testing.T) {
	eachKind(t, func(t *testing.T, _ *privateserver.Home, kind privateserver.Kind, s *privateserver.Server) {
		if kind == privateserver.Postgres {
			exec1(t, testkit.Open(t, s.DSN("")), "CREATE DATABASE d TEMPLATE template0")
		} else {
			exec1(t, testkit.Open(t, s.DSN("")), "CREATE DATABASE d")
		}
		addr := s.Addr()
		for round := 1; round <= 3; round++ {
			db := testkit.Open(t, s.DSN("d"))
			exec1(t, db, "CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY)")
			exec1(t, db, "INSERT INTO t VALUES ("+strconv.Itoa(round)+")")
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := db.PingContext(t.Context()); err == nil {
				t.Fatal("a killed server answers")
			}
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := count(t, testkit.Open(t, s.DSN("d")), "SELECT count(*) FROM t"); n != round {
				t.Fatalf("%d rows after kill %d", n, round)
			}
		}
		if s.Addr() != addr {
			t.Errorf("address moved from %s to %s", addr, s.Addr())
		}
	})
}

func TestStopAndStart(t *testing.T) {
	eachKind(t, func(t *testing.T, _ *privateserver.Home, _ privateserver.Kind, s *privateserver.Server) {
		for range 2 { // both tolerate being called twice
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(t, testkit.Open(t, s.DSN("")), "SELECT 1"); n != 1 {
			t.Error("no answer")
		}
	})
}

func TestTwoServersShareNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, h *privateserver.Home, kind privateserver.Kind, one *privateserver.Server) {
		two := start(t, h, kind)
		exec1(t, testkit.Open(t, one.DSN("")), "CREATE TABLE only_in_one (id int)")
		if kind == privateserver.MySQL && text(t, one, "SELECT @@server_uuid") == text(t, two, "SELECT @@server_uuid") {
			t.Error("the servers have one identity")
		}
		if _, err := testkit.Open(t, two.DSN("")).ExecContext(t.Context(), "SELECT * FROM only_in_one"); err == nil {
			t.Error("the second server has the first one's table")
		}
	})
}

func TestServersCanBeCaptured(t *testing.T) {
	want := map[privateserver.Kind]map[string]string{
		privateserver.Postgres: {
			"SELECT current_setting('wal_level')":             "logical",
			"SELECT current_setting('max_replication_slots')": "20",
			"SELECT current_setting('max_wal_senders')":       "20",
			"SELECT current_setting('synchronous_commit')":    "on",
			"SELECT current_setting('server_encoding')":       "UTF8",
		},
		privateserver.MariaDB: {
			"SELECT @@log_bin":             "1",
			"SELECT @@binlog_format":       "ROW",
			"SELECT @@binlog_row_image":    "FULL",
			"SELECT @@binlog_row_metadata": "FULL",
			"SELECT @@gtid_strict_mode":    "1",
		},
		privateserver.MySQL: {
			"SELECT @@log_bin":             "1",
			"SELECT @@binlog_format":       "ROW",
			"SELECT @@binlog_row_image":    "FULL",
			"SELECT @@binlog_row_metadata": "FULL",
			"SELECT @@gtid_mode":           "ON",
		},
	}
	eachKind(t, func(t *testing.T, _ *privateserver.Home, kind privateserver.Kind, s *privateserver.Server) {
		db := testkit.Open(t, s.DSN(""))
		for query, value := range want[kind] {
			var got string
			if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil || got != value {
				t.Errorf("%s: got %q, %v, want %q", query, got, err, value)
			}
		}
	})
}

func TestHomeCloseLeavesNothing(t *testing.T) {
	h := newHome(t)
	home := ""
	for _, kind := range kinds {
		home = filepath.Dir(filepath.Dir(start(t, h, kind).SocketDir()))
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(home); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
}

// A process that is killed cannot clean up; its servers and their folder must
// go all the same.
func TestServersEndWithTheirProcess(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			h := newHome(t)
			start(t, h, kind) // skips if it is not installed
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Env = append(os.Environ(), "PRIVATESERVER_OWNER="+string(kind))
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			if !lines.Scan() {
				t.Fatal("the owner said nothing")
			}
			home := filepath.Dir(filepath.Dir(lines.Text()))
			pids, err := filepath.Glob(filepath.Join(home, "*", "server.pid"))
			if err != nil || len(pids) != 1 {
				t.Fatalf("server's pid files: %v, %v", pids, err)
			}
			b, err := os.ReadFile(pids[0])
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			eventually(t, "the server is gone", func() bool { return gone(pid) })
			eventually(t, "the folder is gone", func() bool {
				_, err := os.Stat(home)
				return errors.Is(err, os.ErrNotExist)
			})
		})
	}
}

// gone reports whether the process has ended; one that nobody has waited for
// has ended too.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for range 3000 {
		if cond() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func TestUnknownKind(t *testing.T) {
	h := newHome(t)
	if _, err := h.Start(t.Context(), "oracle"); err == nil || !strings.Contains(err.Error(), "oracle") {
		t.Errorf("got %v", err)
	}
}
