package testkit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"millrace/internal/privateserver"
)

// What the tests of one process share. It is removed when the process ends,
// because no test knows that it is the last: that is privateserver's promise.
var (
	home           = sync.OnceValues(privateserver.NewHome)
	sharedPostgres = sync.OnceValues(func() (*privateserver.Server, error) { return start(privateserver.Postgres) })
	sharedMariaDB  = sync.OnceValues(func() (*privateserver.Server, error) { return start(privateserver.MariaDB) })
	sharedMySQL    = sync.OnceValues(func() (*privateserver.Server, error) { return start(privateserver.MySQL) })
	databases      atomic.Int64 // numbers the databases of the shared servers
)

func start(kind privateserver.Kind, args ...string) (*privateserver.Server, error) {
	h, err := home()
	if err != nil {
		return nil, err
	}
	return h.Start(context.Background(), kind, args...)
}

// Server is a server of one test, removed at its end. A method that does not
// succeed fails the test.
type Server struct {
	*privateserver.Server
	t testing.TB
}

// Postgres starts a PostgreSQL of the test's own, with wal_level=logical. The
// arguments are added to its command line.
func Postgres(t testing.TB, args ...string) *Server {
	t.Helper()
	return own(t, privateserver.Postgres, args)
}

// MariaDB starts a MariaDB of the test's own, with a binlog of full row images
// and their metadata. The arguments are added to its command line.
func MariaDB(t testing.TB, args ...string) *Server {
	t.Helper()
	return own(t, privateserver.MariaDB, args)
}

// MySQL starts a MySQL of the test's own, with GTIDs and a binlog of full row
// images and their metadata. The arguments are added to its command line.
func MySQL(t testing.TB, args ...string) *Server {
	t.Helper()
	return own(t, privateserver.MySQL, args)
}

func own(t testing.TB, kind privateserver.Kind, args []string) *Server {
	t.Helper()
	skipShort(t)
	srv, err := start(kind, args...)
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", kind, srv.Log())
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Server{Server: srv, t: t}
}

// Stop ends the server in order.
func (s *Server) Stop() {
	s.t.Helper()
	check(s.t, s.Server.Stop())
}

// Kill ends the server by SIGKILL.
func (s *Server) Kill() {
	s.t.Helper()
	check(s.t, s.Server.Kill())
}

// Start starts the server again, on the same port and data.
func (s *Server) Start() {
	s.t.Helper()
	check(s.t, s.Server.Start(s.t.Context()))
}

// CreateDatabase makes a database of the server and returns its DSN.
func (s *Server) CreateDatabase(name string) string {
	s.t.Helper()
	execute(s.t, s.DSN(""), "CREATE DATABASE "+name)
	return s.DSN(name)
}

// PostgresDatabase makes an empty database on the PostgreSQL that all tests of
// the process share, and returns its DSN. It is dropped at the test's end,
// with the replication slots on it.
func PostgresDatabase(t testing.TB) string {
	t.Helper()
	skipShort(t)
	srv, err := sharedPostgres()
	check(t, err)
	name := fmt.Sprintf("test%d", databases.Add(1))
	execute(t, srv.DSN(""), "CREATE DATABASE "+name)
	t.Cleanup(func() { dropPostgres(t, srv, name) })
	return srv.DSN(name)
}

// dropPostgres ends what a test may have left, because neither a database with
// a slot nor a slot in use can be dropped.
func dropPostgres(t testing.TB, srv *privateserver.Server, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := sql.Open("pgx", srv.DSN(""))
	if err != nil {
		t.Errorf("open the shared server: %v", err)
		return
	}
	defer db.Close()
	steps := []string{
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1 AND NOT temporary",
	}
	for try := 0; ; try++ {
		err = nil
		for _, step := range steps {
			if err == nil {
				_, err = db.ExecContext(ctx, step, name)
			}
		}
		if err == nil {
			_, err = db.ExecContext(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		}
		if err == nil || try == 100 || ctx.Err() != nil {
			break
		}
		time.Sleep(20 * time.Millisecond) // a terminated backend holds its slot for a moment
	}
	if err != nil {
		t.Errorf("drop database %s: %v", name, err)
	}
}

// MariaDBDatabase makes an empty database on the MariaDB that all tests of the
// process share, and returns its DSN. It is dropped at the test's end. The
// binlog is one for the whole server: a test that reads it meets the events of
// others.
func MariaDBDatabase(t testing.TB) string {
	t.Helper()
	return sharedDatabase(t, sharedMariaDB)
}

// MySQLDatabase is what MariaDBDatabase is, on a MySQL.
func MySQLDatabase(t testing.TB) string {
	t.Helper()
	return sharedDatabase(t, sharedMySQL)
}

func sharedDatabase(t testing.TB, shared func() (*privateserver.Server, error)) string {
	t.Helper()
	skipShort(t)
	srv, err := shared()
	check(t, err)
	name := fmt.Sprintf("test%d", databases.Add(1))
	execute(t, srv.DSN(""), "CREATE DATABASE "+name)
	t.Cleanup(func() { execute(t, srv.DSN(""), "DROP DATABASE "+name) })
	return srv.DSN(name)
}

// Open connects to the database of a DSN by the plain SQL driver; the
// connections are closed at the test's end.
func Open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := open(dsn)
	check(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func open(dsn string) (*sql.DB, error) {
	if strings.HasPrefix(dsn, "mysql://") {
		own, err := DriverDSN(dsn)
		if err != nil {
			return nil, err
		}
		return sql.Open("mysql", own)
	}
	return sql.Open("pgx", dsn)
}

func execute(t testing.TB, dsn, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := open(dsn)
	check(t, err)
	_, err = db.ExecContext(ctx, statement)
	check(t, errors.Join(err, db.Close()))
}

func skipShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts a server")
	}
}

// check skips the test if a server is missing, and fails it on any other error.
func check(t testing.TB, err error) {
	t.Helper()
	var missing *privateserver.MissingError
	switch {
	case errors.As(err, &missing):
		Missing(t, missing.What, missing.Package)
	case err != nil:
		t.Fatal(err)
	}
}
