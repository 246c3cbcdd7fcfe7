package source

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/go-sql-driver/mysql"

	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
)

// mariadb is MariaDB.
type mariadb struct {
	place   Place
	db      *sql.DB
	dialect *dialect
}

// databaseOf is the database that a DSN names.
func databaseOf(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}

// connection is the driver's form of mysql://user:password@host:port/db.
func connection(dsn string) (*mysql.Config, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, errors.New("its DSN is no URL") // the error would show a password
	}
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.DBName = u.User.Username(), "tcp", u.Host, databaseOf(dsn)
	c.Passwd, _ = u.User.Password()
	if u.Port() == "" {
		c.Addr += ":3306"
	}
	c.TLSConfig = u.Query().Get("tls")
	c.MultiStatements, c.MaxAllowedPacket = true, 0
	c.Params = map[string]string{"time_zone": "'+00:00'"}
	return c, nil
}

func openMariaDB(p Place) (Database, error) {
	c, err := connection(p.DSN)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p.Kind, err)
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p.Kind, err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(32)
	return &mariadb{place: p, db: db, dialect: &dialect{
		types: map[workload.Type]string{
			workload.Int: "bigint", workload.Text: "varchar(200)", workload.Decimal: "decimal(18,4)", workload.Bool: "boolean",
			workload.Double: "double", workload.Time: "timestamp(6) NULL", workload.Date: "date", workload.Long: "mediumtext",
		},
		options: " CHARACTER SET utf8mb4",
		update:  insertOrUpdate,
		sum: map[workload.Type]string{
			workload.Time: "CAST(UNIX_TIMESTAMP(%s) * 1000000 AS SIGNED)", workload.Date: "CAST(%s AS char)",
		},
	}}, nil
}

// insertOrUpdate gives rows other values in one statement: the rows are there,
// so the log holds updates.
func insertOrUpdate(b *strings.Builder, table string, columns []workload.Column, rows func(bool)) {
	fmt.Fprintf(b, "INSERT INTO %s (%s) VALUES ", table, names(columns))
	rows(false)
	b.WriteString(" ON DUPLICATE KEY UPDATE ")
	for i, c := range columns[1:] {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.Name + "=VALUES(" + c.Name + ")")
	}
}

// mariadbDatabase is what a private server gets.
const mariadbDatabase = "loadtest"

// make makes that database.
func (m *mariadb) make(ctx context.Context) error {
	return execute(ctx, m.db, "CREATE DATABASE "+mariadbDatabase)
}

func (m *mariadb) Create(ctx context.Context) error {
	for t := range m.place.Spec.Tables {
		if err := execute(ctx, m.db, m.dialect.create(m.place, t)...); err != nil {
			return err
		}
	}
	return nil
}

func (m *mariadb) Drop(ctx context.Context) error {
	var errs []error
	for t := range m.place.Spec.Tables {
		errs = append(errs, execute(ctx, m.db, "DROP TABLE IF EXISTS "+m.place.Table(t)))
	}
	return errors.Join(errs...)
}

// packet is how much a round trip carries at most.
const packet = 4 << 20

func (m *mariadb) Write(ctx context.Context, txs ...workload.Tx) error {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer conn.Close()
	var b strings.Builder
	flush := func() error {
		if b.Len() == 0 {
			return nil
		}
		text := b.String()
		b.Reset()
		for len(text) > 0 { // a transaction may be longer than a packet
			cut := len(text)
			if cut > packet {
				if cut = strings.LastIndex(text[:packet], ";") + 1; cut == 0 {
					return errors.New("write: a statement is longer than a packet")
				}
			}
			if _, err := conn.ExecContext(ctx, text[:cut]); err != nil {
				return err
			}
			text = text[cut:]
		}
		return nil
	}
	for _, tx := range txs {
		err := retried(ctx, func() error {
			if len(txs) == 1 || b.Len() > packet/2 {
				if err := flush(); err != nil {
					return err
				}
			}
			m.dialect.transaction(&b, m.place, tx)
			if len(txs) > 1 {
				return nil
			}
			err := flush()
			if err != nil {
				b.Reset()
				_, _ = conn.ExecContext(ctx, "ROLLBACK") // of what was begun, if anything
			}
			return err
		}, func(err error) bool {
			var e *mysql.MySQLError
			return errors.As(err, &e) && len(txs) == 1 && (e.Number == gomysql.ER_LOCK_DEADLOCK || e.Number == gomysql.ER_LOCK_WAIT_TIMEOUT)
		})
		if err != nil {
			return err
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func (m *mariadb) Rows(ctx context.Context, table int) (measure.Rows, error) {
	return m.dialect.read(ctx, m.db, m.place, table)
}

func (m *mariadb) Mark(ctx context.Context) (json.RawMessage, error) {
	var at gomysql.Position
	var only, except string
	if err := m.db.QueryRowContext(ctx, "SHOW MASTER STATUS").Scan(&at.Name, &at.Pos, &only, &except); err != nil {
		return nil, fmt.Errorf("read the end of the binlog: %w", err)
	}
	return json.Marshal(at)
}

func (*mariadb) Release(context.Context) error { return nil }

func (m *mariadb) Version(ctx context.Context) (v string, err error) {
	err = m.db.QueryRowContext(ctx, "SELECT version()").Scan(&v)
	return "MariaDB " + strings.TrimSuffix(v, "-MariaDB"), err
}

func (m *mariadb) Close() error { return m.db.Close() }

// drainServerID is what a drain calls itself as a replica.
const drainServerID = 4_000_000_001

// drainMariaDBLog reads the binlog by the library that the product reads it
// with, decoded, because rows are what is captured, and counts rows.
func drainMariaDBLog(ctx context.Context, d Drain) error {
	return drainBinlog(ctx, d, gomysql.MariaDBFlavor)
}

func drainBinlog(ctx context.Context, d Drain, flavour string) error {
	var at gomysql.Position
	if err := json.Unmarshal(d.Mark, &at); err != nil {
		return fmt.Errorf("read the mark: %w", err)
	}
	c, err := connection(d.Place.DSN)
	if err != nil {
		return fmt.Errorf("drain the binlog: %w", err)
	}
	host, text, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf("drain the binlog: %w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return fmt.Errorf("drain the binlog: %w", err)
	}
	counter := &rowCounter{left: d.Changes, done: make(chan struct{})}
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: drainServerID, Flavor: flavour, Host: host, Port: uint16(port), User: c.User, Password: c.Passwd,
		UseDecimal: true, ParseTime: true, TimestampStringLocation: time.UTC, HeartbeatPeriod: 5 * time.Second,
		DisableRetrySync: true, DiscardGTIDSet: true, EventCacheCount: 1, Logger: slog.New(slog.DiscardHandler), SynchronousEventHandler: counter,
	})
	defer syncer.Close()
	streamer, err := syncer.StartSync(at)
	if err != nil {
		return fmt.Errorf("drain the binlog: %w", err)
	}
	ended := make(chan error, 1)
	inner, cancel := context.WithCancel(ctx)
	go func() {
		_, err := streamer.GetEvent(inner)
		ended <- err
	}()
	select {
	case <-counter.done:
		cancel()
		<-ended //nolint:errcheck // that it was canceled
		return nil
	case err := <-ended:
		cancel()
		return fmt.Errorf("drain the binlog: %w", err)
	}
}

// rowCounter counts the rows of events.
type rowCounter struct {
	left int64
	done chan struct{}
}

func (c *rowCounter) HandleEvent(e *replication.BinlogEvent) error {
	rows, ok := e.Event.(*replication.RowsEvent)
	if !ok || c.left <= 0 {
		return nil
	}
	n := int64(len(rows.Rows))
	if rows.Type() == replication.EnumRowsEventTypeUpdate {
		n /= 2 // each row as it was and as it is
	}
	if c.left -= n; c.left <= 0 {
		close(c.done)
	}
	return nil
}

// drainMariaDBRows selects the tables and throws them away.
func drainMariaDBRows(ctx context.Context, d Drain) error {
	c, err := connection(d.Place.DSN)
	if err != nil {
		return fmt.Errorf("drain the tables: %w", err)
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return fmt.Errorf("drain the tables: %w", err)
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }() // it was only read
	for t := range d.Place.Spec.Tables {
		if err := drainQuery(ctx, db, "SELECT * FROM "+d.Place.Table(t)); err != nil {
			return fmt.Errorf("drain %s: %w", d.Place.Table(t), err)
		}
	}
	return nil
}

func drainQuery(ctx context.Context, db *sql.DB, query string) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}
