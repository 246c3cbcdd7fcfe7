package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"millrace/producers"
)

var _ producers.Surveyor = (*Config)(nil)

// Survey implements producers.Surveyor. Its session may only read, and the
// connection for replication is closed as soon as the server has let it in.
func (c *Config) Survey(ctx context.Context, env producers.Env) (*producers.Survey, error) {
	var out producers.Survey
	name, err := slotName(env.Prefix, env.Source)
	if err != nil {
		return &out, out.Add("", err)
	}
	conn, err := dial(ctx, c.DSN, map[string]string{"default_transaction_read_only": "on"})
	if err != nil {
		return &out, out.Add("", err) // nothing more can be asked
	}
	defer closeNow(conn.PgConn())
	srv, err := inspect(ctx, conn)
	if err != nil {
		if err := out.Add("", err); err != nil {
			return nil, err
		}
	}
	repl, _, err := dialReplication(ctx, c.DSN)
	if err != nil {
		if err := out.Add("", err); err != nil {
			return nil, err
		}
	} else {
		closeNow(repl)
	}
	if srv.version < minVersion {
		return &out, nil // its catalog has not what is asked for
	}
	cats, err := readCatalog(ctx, conn, name, c.Tables)
	if err != nil {
		return nil, err
	}
	var wanted []*catalogTable
	types := &types{info: map[uint32]typeInfo{}}
	who := identityNow{source: env.Source, db: srv.database, topic: env.Topic}
	var configured []string
	for _, t := range c.Tables {
		configured = append(configured, t.Name)
	}
	for _, t := range c.Tables {
		cat := cats[t.Name]
		if cat == nil {
			there, err := tableNames(ctx, conn)
			if err != nil {
				return nil, err
			}
			h := missing(t)
			h.Hint = out.Guess(t.Name, there, configured) + h.Hint
			out.Faults = append(out.Faults, h)
			continue
		}
		key, err := cat.check(t)
		var v *version
		if err == nil {
			v, err = types.build(ctx, conn, who, t, cat.described(), key, cat, nil)
		}
		if err != nil {
			if err := out.Add(t.Name, err); err != nil {
				return nil, err
			}
			continue
		}
		wanted, out.Tables = append(wanted, cat), append(out.Tables, v.table)
	}
	// A table with a fault is not among the wanted, and no less captured: only
	// who knows them all can say what is too much.
	if err := mayPublish(ctx, conn, name, wanted, len(wanted) == len(c.Tables)); err != nil {
		if err := out.Add("", err); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

// mayPublish refuses a role that may not publish the tables, unless they are
// published already. only says that no others are to be published.
func mayPublish(ctx context.Context, conn *pgx.Conn, name string, tables []*catalogTable, only bool) error {
	if len(tables) == 0 {
		return nil
	}
	ddl, what, err := publishing(ctx, conn, name, tables, only)
	if err != nil || len(ddl) == 0 {
		return err
	}
	ids := make([]uint32, len(tables))
	for i, t := range tables {
		ids[i] = t.OID
	}
	var role string
	var may bool
	if err := conn.QueryRow(ctx, `SELECT current_user::text,
		coalesce((SELECT pg_has_role(p.pubowner, 'USAGE') FROM pg_publication p WHERE p.pubname = $1), has_database_privilege(current_database(), 'CREATE'))
		AND (SELECT bool_and(pg_has_role(c.relowner, 'USAGE')) FROM pg_class c WHERE c.oid = ANY($2::oid[]))`, name, ids).Scan(&role, &may); err != nil {
		return fmt.Errorf("read who may publish: %w", err)
	}
	if may {
		return nil
	}
	return &producers.HaltError{
		Err:  fmt.Errorf("the role %s may not %s", role, what),
		Hint: "run as a role that may, such as the tables' owner: " + strings.Join(ddl, "; "),
	}
}
