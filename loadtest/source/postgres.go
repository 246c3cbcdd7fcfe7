package source

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/stdlib"

	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
)

type postgres struct {
	place   Place
	db      *sql.DB
	dialect *dialect
	slot    string
}

func openPostgres(p Place) (Database, error) {
	c, err := pgx.ParseConfig(p.DSN)
	if err != nil {
		return nil, errors.New("open PostgreSQL: its DSN cannot be read") // the error would show a password
	}
	c.RuntimeParams["timezone"] = "UTC"
	db := stdlib.OpenDB(*c)
	db.SetMaxIdleConns(32)
	return &postgres{place: p, db: db, slot: p.Prefix + "limit", dialect: &dialect{
		types: map[workload.Type]string{
			workload.Int: "bigint", workload.Text: "text", workload.Decimal: "numeric(18,4)", workload.Bool: "boolean",
			workload.Double: "float8", workload.Time: "timestamptz", workload.Date: "date", workload.Long: "text",
		},
		update: updateFrom,
		sum: map[workload.Type]string{
			workload.Time: "(extract(epoch FROM %s) * 1000000)::bigint::text", workload.Date: "%s::text", workload.Decimal: "%s::text",
			workload.Bool: "%s::int::text", workload.Double: "%s::text", workload.Int: "%s::text",
		},
	}}, nil
}

// updateFrom gives rows other values in one statement.
func updateFrom(b *strings.Builder, table string, columns []workload.Column, rows func(bool)) {
	fmt.Fprintf(b, "UPDATE %s t SET ", table)
	for i, c := range columns[1:] {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.Name + "=v." + c.Name)
	}
	b.WriteString(" FROM (VALUES ")
	rows(true)
	fmt.Fprintf(b, ") v(%s) WHERE t.id=v.id", names(columns))
}

func (p *postgres) Create(ctx context.Context) error {
	for t := range p.place.Spec.Tables {
		statements := p.dialect.create(p.place, t)
		if p.place.Spec.Toast > 0 {
			// Stored beside the row, so that an update that leaves it alone does not log it.
			statements = append(statements, "ALTER TABLE "+p.place.Table(t)+" ALTER COLUMN "+workload.Note+" SET STORAGE EXTERNAL")
		}
		if err := execute(ctx, p.db, statements...); err != nil {
			return err
		}
	}
	return nil
}

// Drop also removes what the product has left at the server.
func (p *postgres) Drop(ctx context.Context) error {
	var errs []error
	for t := range p.place.Spec.Tables {
		errs = append(errs, execute(ctx, p.db, "DROP TABLE IF EXISTS "+p.place.Table(t)))
	}
	if p.place.Publication != "" {
		errs = append(errs, p.dropSlot(ctx, p.place.Publication), execute(ctx, p.db, "DROP PUBLICATION IF EXISTS "+p.place.Publication))
	}
	return errors.Join(errs...)
}

func (p *postgres) Write(ctx context.Context, txs ...workload.Tx) error {
	var b strings.Builder
	for _, tx := range txs {
		p.dialect.transaction(&b, p.place, tx)
	}
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer conn.Close()
	return retried(ctx, func() error {
		err := conn.Raw(func(c any) error {
			// The simple protocol: all statements in one round trip.
			return c.(interface{ Conn() *pgx.Conn }).Conn().PgConn().Exec(ctx, b.String()).Close()
		})
		if err != nil {
			_, _ = conn.ExecContext(ctx, "ROLLBACK") // of what was begun, if anything
		}
		return err
	}, func(err error) bool {
		var e *pgconn.PgError
		return len(txs) == 1 && errors.As(err, &e) && e.Code == "40P01" // two writers had waited for each other
	})
}

func (p *postgres) Rows(ctx context.Context, table int) (measure.Rows, error) {
	return p.dialect.read(ctx, p.db, p.place, table)
}

func (p *postgres) Mark(ctx context.Context) (json.RawMessage, error) {
	if _, err := p.db.ExecContext(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", p.slot); err != nil {
		return nil, fmt.Errorf("make a slot for the limit: %w", err)
	}
	return json.Marshal(p.slot)
}

func (p *postgres) Release(ctx context.Context) error { return p.dropSlot(ctx, p.slot) }

// dropSlot drops a slot, if it is there. The server may not have seen yet that its
// reader has gone.
func (p *postgres) dropSlot(ctx context.Context, name string) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, err := p.db.ExecContext(ctx, `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active`, name)
		if err == nil {
			_, err = p.db.ExecContext(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", name)
		}
		var e *pgconn.PgError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &e) || e.Code != "55006" || time.Now().After(deadline):
			return fmt.Errorf("drop the slot %s: %w", name, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *postgres) Version(ctx context.Context) (v string, err error) {
	err = p.db.QueryRowContext(ctx, "SHOW server_version").Scan(&v)
	return "PostgreSQL " + v, err
}

func (p *postgres) Close() error { return p.db.Close() }

// drainPostgresLog reads a slot by the protocol that the product reads, and
// counts rows. A reader that wakes for every message makes the server slower, and
// one that watches a context for every message costs more than the message: it
// reads as the product does, from the connection itself, and sleeps until much has
// come, except near the end.
func drainPostgresLog(ctx context.Context, d Drain) error {
	var slot string
	if err := json.Unmarshal(d.Mark, &slot); err != nil {
		return fmt.Errorf("read the mark: %w", err)
	}
	c, err := pgconn.ParseConfig(d.Place.DSN)
	if err != nil {
		return errors.New("drain the slot: the DSN cannot be read")
	}
	c.RuntimeParams["replication"] = "database"
	c.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(bufio.NewReaderSize(r, 256<<10), w)
	}
	session, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return fmt.Errorf("drain the slot: %w", err)
	}
	err = pglogrepl.StartReplication(ctx, session, slot, 0, pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: []string{"proto_version '1'", "publication_names '" + d.Place.Publication + "'"},
	})
	if err != nil {
		return fmt.Errorf("drain the slot: %w", err)
	}
	conn, err := session.Hijack()
	if err != nil {
		return fmt.Errorf("drain the slot: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Conn.Close() })() // ends a read that waits
	defer func() { _ = conn.Conn.Close() }()                         // everything was read
	if err := countChanges(conn, d.Changes); err != nil {
		return fmt.Errorf("drain the slot: %w", errors.Join(ctx.Err(), err))
	}
	return nil
}

// countChanges reads until so many changes of rows have come.
func countChanges(conn *pgconn.HijackedConn, left int64) error {
	wakeAt(conn.Conn, 64<<10)
	for slow := false; left > 0; {
		msg, err := conn.Frontend.Receive()
		if err != nil {
			return err
		}
		var data []byte
		switch msg := msg.(type) {
		case *pgproto3.CopyData:
			data = msg.Data
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(msg)
		default:
			return fmt.Errorf("the server says %T", msg)
		}
		switch {
		case data[0] == 'w' && strings.IndexByte("IUD", data[25]) >= 0:
			left--
		case data[0] == 'k' && data[17] != 0:
			if err := answer(conn, binary.BigEndian.Uint64(data[1:])); err != nil {
				return err
			}
		}
		if !slow && left < 2000 {
			slow = true
			wakeAt(conn.Conn, 1)
		}
	}
	return nil
}

// answer tells the server, which has asked for it, how far the log was read.
func answer(conn *pgconn.HijackedConn, written uint64) error {
	status := make([]byte, 34)
	status[0] = 'r'
	binary.BigEndian.PutUint64(status[1:], written)
	conn.Frontend.Send(&pgproto3.CopyData{Data: status})
	return conn.Frontend.Flush()
}

// wakeAt sets how many bytes must be there before a read returns, where the
// system can do that.
func wakeAt(c net.Conn, n int) {
	if t, ok := c.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n) }) // slower without
		}
	}
}

// drainPostgresRows copies the tables out and throws them away.
func drainPostgresRows(ctx context.Context, d Drain) error {
	conn, err := pgconn.Connect(ctx, d.Place.DSN)
	if err != nil {
		return fmt.Errorf("drain the tables: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // everything was read
	for t := range d.Place.Spec.Tables {
		if _, err := conn.CopyTo(ctx, io.Discard, "COPY "+d.Place.Table(t)+" TO STDOUT"); err != nil {
			return fmt.Errorf("drain %s: %w", d.Place.Table(t), err)
		}
	}
	return nil
}

// retried tries again what two writers have made impossible for each other.
func retried(ctx context.Context, do func() error, again func(error) bool) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || !again(err) || try == 20 || ctx.Err() != nil {
			if err != nil {
				err = fmt.Errorf("write: %w", err)
			}
			return err
		}
		time.Sleep(time.Duration(try) * time.Millisecond)
	}
}
