package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"millrace/producers"
)

var _ producers.Surveyor = (*Config)(nil)

// Survey implements producers.Surveyor. Its session may only read.
func (c *Config) Survey(ctx context.Context, env producers.Env) (_ *producers.Survey, err error) {
	d, err := c.driver()
	if err != nil {
		return nil, err
	}
	d.Params["tx_read_only"] = "1"
	connector, err := mysql.NewConnector(d)
	if err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	s := &source{cfg: c, env: env, db: sql.OpenDB(connector)}
	defer func() { err = errors.Join(err, s.Close()) }()
	var out producers.Survey
	var faults []error
	if s.server, faults, err = examine(ctx, s.db, d.Addr); err != nil {
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
	for _, fault := range faults {
		if err := out.Add("", fault); err != nil {
			return nil, err
		}
	}
	if s.catalog, err = readCatalog(ctx, s.db); err != nil {
		return nil, err
	}
	for _, cfg := range c.Tables {
		schema, name, _ := cfg.split()
		table, _, err := s.presentTable(ctx, &tracked{cfg: cfg, schema: schema, name: name})
		if err != nil {
			if err := out.Add(cfg.Name, err); err != nil {
				return nil, err
			}
			continue
		}
		out.Tables = append(out.Tables, table)
	}
	return &out, nil
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
