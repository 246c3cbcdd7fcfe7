package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"millrace/producers"
)

var _ producers.Surveyor = (*Config)(nil)

// Survey implements producers.Surveyor. Its session may only read.
func (c *Config) Survey(ctx context.Context, env producers.Env) (_ *producers.Survey, err error) {
	var out producers.Survey
	d, db, kind, err := c.connect(ctx, true)
	if err != nil {
		return &out, out.Add("", err)
	}
	s := &source{cfg: c, env: env, db: db, kind: kind}
	defer func() { err = errors.Join(err, s.Close()) }()
	var faults []error
	if s.server, faults, err = examine(ctx, s.db, kind, d.Addr); err != nil {
		return &out, out.Add("", err) // nothing more can be asked
	}
	mayRead, err := mayReadBinlog(ctx, s.db)
	if err != nil {
		return nil, err
	}
	if !mayRead {
		faults = append(faults, halt(fmt.Errorf("%s may not read the binlog", s.server.account),
			"GRANT REPLICATION SLAVE ON *.* TO "+quoteAccount(s.server.account)))
	}
	if _, err := preparedXA(ctx, s.db); err != nil {
		faults = append(faults, s.xaError(err))
	}
	for _, fault := range faults {
		if err := out.Add("", fault); err != nil {
			return nil, err
		}
	}
	if s.catalog, err = readCatalog(ctx, s.db, kind); err != nil {
		return nil, err
	}
	for _, cfg := range c.Tables {
		schema, name, _ := cfg.split()
		table, _, err := s.presentTable(ctx, &tracked{cfg: cfg, schema: schema, name: name})
		if err != nil {
			if err := out.Add(cfg.Name, s.guess(ctx, &out, cfg.Name, err)); err != nil {
				return nil, err
			}
			continue
		}
		out.Tables = append(out.Tables, table)
	}
	return &out, nil
}

// guess adds to the fault of a table which cannot be read, and may not be
// there, the name that was meant.
func (s *source) guess(ctx context.Context, out *producers.Survey, table string, err error) error {
	var h *producers.HaltError
	switch codeOf(err) {
	case gomysql.ER_NO_SUCH_TABLE, gomysql.ER_BAD_DB_ERROR, gomysql.ER_TABLEACCESS_DENIED_ERROR, gomysql.ER_DBACCESS_DENIED_ERROR:
	default:
		return err
	}
	if !errors.As(err, &h) {
		return err
	}
	there, failed := queryStrings(ctx, s.db, `SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.TABLES
		WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY 1`)
	if failed != nil {
		return fmt.Errorf("read the names of tables: %w", failed)
	}
	var configured []string
	for _, t := range s.cfg.Tables {
		configured = append(configured, t.Name)
	}
	return &producers.HaltError{Table: h.Table, Err: h.Err, Hint: out.Guess(table, there, configured) + h.Hint}
}

// mayReadBinlog says whether the user may read the binlog, as far as its grants
// tell: what it has through a role is believed.
func mayReadBinlog(ctx context.Context, q querier) (bool, error) {
	grants, err := queryStrings(ctx, q, "SHOW GRANTS")
	if err != nil {
		return false, fmt.Errorf("read the user's grants: %w", err)
	}
	for _, g := range grants {
		privileges, _, onSomething := strings.Cut(g, " ON ")
		everywhere := strings.Contains(g, " ON *.* ")
		list := strings.Split(strings.TrimPrefix(privileges, "GRANT "), ", ")
		if !onSomething || everywhere && (slices.Contains(list, "REPLICATION SLAVE") || slices.Contains(list, "ALL PRIVILEGES")) {
			return true, nil
		}
	}
	return false, nil
}
