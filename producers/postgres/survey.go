package postgres

import (
	"context"

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
	types := &types{info: map[uint32]typeInfo{}}
	who := identityNow{source: env.Source, db: srv.database, topic: env.Topic}
	for _, t := range c.Tables {
		cat := cats[t.Name]
		if cat == nil {
			out.Faults = append(out.Faults, missing(t))
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
		out.Tables = append(out.Tables, v.table)
	}
	return &out, nil
}
