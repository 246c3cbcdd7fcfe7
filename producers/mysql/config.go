package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"millrace/producers"
)

// Config is the section of a source that is MariaDB or MySQL; which one, the
// server says.
type Config struct {
	// DSN is mysql://user:password@host:port/db. The database is where the
	// connection starts and may be left out. ?tls=true asks for TLS with a
	// checked certificate, ?tls=skip-verify for TLS without the check.
	DSN    string
	Tables []Table
	// ServerID is what the source calls itself as a replica. It must differ from
	// every server and replica around it. 0: derived from prefix and source.
	ServerID uint32
}

// Table is one captured table.
type Table struct {
	Name string   // database.table
	Key  []string // a unique key of NOT NULL columns; empty: the primary key
	// AppendOnly admits a table without a key. Rows are then only ever added.
	AppendOnly bool
	// ZeroDates is what becomes of dates that no calendar has, such as
	// 0000-00-00: "" halts the table, "null" makes them null.
	ZeroDates string
	// IgnoreCascades captures a table although a foreign key's cascade can
	// change its rows, which the binlog does not carry.
	IgnoreCascades bool
}

var _ producers.Config = (*Config)(nil)

// split is the database and the table of a name.
func (t Table) split() (schema, name string, ok bool) {
	schema, name, ok = strings.Cut(t.Name, ".")
	return schema, name, ok && schema != "" && name != "" && !strings.Contains(name, ".")
}

// Validate reports every fault, joined.
func (c *Config) Validate() error {
	var faults []error
	if _, err := c.driver(); err != nil {
		faults = append(faults, err)
	}
	if len(c.Tables) == 0 {
		faults = append(faults, errors.New("tables: empty: name the tables to capture as database.table"))
	}
	seen := map[string]bool{}
	for _, t := range c.Tables {
		schema, _, ok := t.split()
		switch {
		case !ok:
			faults = append(faults, fmt.Errorf("tables: %q is not database.table", t.Name))
		case slices.Contains([]string{"mysql", "sys", "information_schema", "performance_schema"}, strings.ToLower(schema)):
			faults = append(faults, fmt.Errorf("tables: %q belongs to the server and is not captured", t.Name))
		case seen[t.Name]:
			faults = append(faults, fmt.Errorf("tables: %q is named twice", t.Name))
		}
		seen[t.Name] = true
		for i, col := range t.Key {
			if col == "" || slices.Contains(t.Key[:i], col) {
				faults = append(faults, fmt.Errorf("tables: %s: key: column %q is empty or named twice", t.Name, col))
			}
		}
		if len(t.Key) > 0 && t.AppendOnly {
			faults = append(faults, fmt.Errorf("tables: %s: append_only and key exclude each other: leave out one", t.Name))
		}
		if t.ZeroDates != "" && t.ZeroDates != "null" {
			faults = append(faults, fmt.Errorf("tables: %s: zero_dates: %q is not null: leave it out to halt at a zero date", t.Name, t.ZeroDates))
		}
	}
	return errors.Join(faults...)
}

// driver is the configuration of the SQL connections. Every session reads and
// writes in UTC, gets text in the bytes of its column, and sees dates as they
// are stored. connect adds what only one of the servers knows.
func (c *Config) driver() (*mysql.Config, error) {
	const form = "dsn: want mysql://user:password@host:port/db"
	u, err := url.Parse(c.DSN)
	if err != nil { // its text repeats the password
		return nil, errors.New(form)
	}
	if u.Scheme != "mysql" && u.Scheme != "mariadb" {
		return nil, fmt.Errorf("%s, not the scheme %q", form, u.Scheme)
	}
	if u.Hostname() == "" || u.User.Username() == "" {
		return nil, fmt.Errorf("%s: host or user is missing", form)
	}
	port := u.Port()
	if port == "" {
		port = "3306"
	}
	d := mysql.NewConfig()
	d.User = u.User.Username()
	d.Passwd, _ = u.User.Password()
	d.Net, d.Addr = "tcp", net.JoinHostPort(u.Hostname(), port)
	d.DBName = strings.TrimPrefix(u.Path, "/")
	d.Timeout = 10 * time.Second
	d.Logger = &mysql.NopLogger{}
	d.MaxAllowedPacket = 0 // as large as the server's
	for name, values := range u.Query() {
		switch {
		case name == "tls" && values[0] == "true":
			d.TLS = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
		case name == "tls" && values[0] == "skip-verify":
			d.TLS = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
		case name == "tls" && values[0] == "false":
		case name == "tls":
			return nil, fmt.Errorf("dsn: tls=%s is not known: there is tls=true, tls=skip-verify, tls=false", values[0])
		default: // its value may be a password
			return nil, fmt.Errorf("dsn: parameter %s is not known: there is tls=true, tls=skip-verify, tls=false", name)
		}
	}
	d.Params = map[string]string{
		"time_zone":             "'+00:00'",
		"sql_mode":              "''",
		"character_set_results": "NULL",
		"net_write_timeout":     "600", // a snapshot's reader may wait for Kafka
	}
	if err := d.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	return d, nil
}

// replicaID is the source's server id. A derived one stays the same over
// restarts, and keeps off the small numbers that people give to servers.
func (c *Config) replicaID(env producers.Env) uint32 {
	if c.ServerID != 0 {
		return c.ServerID
	}
	h := fnv.New32a()
	h.Write([]byte(env.Prefix + "\x00" + env.Source))
	return h.Sum32() | 1<<30
}

// Open connects, checks what the source needs, and resumes.
func (c *Config) Open(ctx context.Context, from producers.Start, env producers.Env) (producers.Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return open(ctx, c, from, env)
}

// endpoint is the server's host and port, for the replication protocol.
func endpoint(d *mysql.Config) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(d.Addr)
	if err != nil {
		return "", 0, fmt.Errorf("dsn: %w", err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("dsn: port %q: %w", text, err)
	}
	return host, uint16(n), nil
}
