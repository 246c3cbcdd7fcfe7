package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"millrace/producers"
)

// settings fix how the server prints values, so that the log and a snapshot
// print the same (G3). A search path without the schemas of users keeps names
// in reg… types whole; row security must fail, not hide rows.
var settings = map[string]string{
	"client_encoding":    "UTF8",
	"datestyle":          "ISO",
	"intervalstyle":      "iso_8601",
	"timezone":           "UTC",
	"bytea_output":       "hex",
	"extra_float_digits": "3",
	"lc_monetary":        "C",
	"xmloption":          "content",
	"search_path":        "pg_catalog",
	"row_security":       "off",
	"statement_timeout":  "0",
	// While what a chunk read is written to Kafka, its transaction idles.
	"idle_in_transaction_session_timeout": "0",
	"application_name":                    "millrace",
}

const (
	readBuffer     = 256 << 10
	connectTimeout = 15 * time.Second
)

// dial opens a connection with the settings; extra are added to them.
func dial(ctx context.Context, dsn string, extra map[string]string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, &producers.HaltError{Err: errors.New("dsn " + dsnFault(err)), Hint: "write postgres://user:password@host:port/database"}
	}
	maps.Copy(c.RuntimeParams, settings)
	maps.Copy(c.RuntimeParams, extra)
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, connectError(c, err)
	}
	return conn, nil
}

// dialReplication opens a connection that takes replication commands, and
// returns the buffer through which it reads.
func dialReplication(ctx context.Context, dsn string) (*pgconn.PgConn, *bufio.Reader, error) {
	c, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, nil, &producers.HaltError{Err: errors.New("dsn " + dsnFault(err)), Hint: "write postgres://user:password@host:port/database"}
	}
	maps.Copy(c.RuntimeParams, settings)
	c.RuntimeParams["replication"] = "database"
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	var buffer *bufio.Reader
	c.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		buffer = bufio.NewReaderSize(r, readBuffer)
		return pgproto3.NewFrontend(buffer, w)
	}
	conn, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		pc, _ := pgx.ParseConfig(dsn)
		return nil, nil, connectError(pc, err)
	}
	return conn, buffer, nil
}

// connectError says which server refused whom, and why. A server that cannot
// be reached may be back soon: only what a person must cure is a HaltError.
func connectError(c *pgx.ConnConfig, err error) error {
	where := fmt.Sprintf("connect to postgres at %s:%d, database %s, as %s", c.Host, c.Port, c.Database, c.User)
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		halted := func(hint string) error {
			return &producers.HaltError{Err: fmt.Errorf("%s: %s (%s)", where, pg.Message, pg.Code), Hint: hint}
		}
		switch pg.Code {
		case "28P01", "28000":
			return halted("correct user and password in the dsn, or let the role in by pg_hba.conf")
		case "3D000":
			return halted("correct the database in the dsn")
		case "42501":
			return halted(fmt.Sprintf("ALTER ROLE %s REPLICATION", quote(c.User)))
		}
	}
	// The driver tries with TLS and without, and each address of the host, and
	// tells the reason each time.
	var dial *net.OpError
	if errors.As(err, &dial) {
		err = dial
	}
	return fmt.Errorf("%s: %w; check the host and port in the dsn, and that the server runs", where, err)
}

// code is the SQLSTATE of an error of the server, or empty.
func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// The SQLSTATEs that mean something here.
const (
	codeNoPrivilege   = "42501"
	codeNoColumn      = "42703"
	codeNoTable       = "42P01"
	codeNoObject      = "42704"
	codeNotReady      = "55000" // object not in prerequisite state: a slot that was invalidated
	codeInUse         = "55006"
	codeTooManySlots  = "53400"
	codeFileGone      = "58P01"
	codeUndefinedFunc = "42883"
	codeCanceled      = "57014"
)
