package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"millrace/producers"
)

const publishOptions = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true"

// publish makes the publication hold exactly the given tables, with all their
// rows, columns and operations. What was published in part until now is taken
// out and put in again, so that it has a new entry in the publication: that is
// how a gap is recognised, whenever this process ends.
func publish(ctx context.Context, conn *pgx.Conn, name string, tables []*catalogTable) error {
	ddl, what, err := publishing(ctx, conn, name, tables, true)
	if err != nil || len(ddl) == 0 {
		return err
	}
	return runDDL(ctx, conn, ddl, what)
}

// publishing is what publish has to do: statements, if any, and their name.
// Other tables are taken out if it is to hold only these.
func publishing(ctx context.Context, conn *pgx.Conn, name string, tables []*catalogTable, only bool) (ddl []string, what string, err error) {
	var all, whole bool
	err = conn.QueryRow(ctx, `SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate AND pubviaroot
		FROM pg_publication WHERE pubname = $1`, name).Scan(&all, &whole)
	if errors.Is(err, pgx.ErrNoRows) {
		sql := fmt.Sprintf("CREATE PUBLICATION %s WITH (%s)", quote(name), publishOptions)
		if len(tables) > 0 {
			items := make([]string, len(tables))
			for i, t := range tables {
				items[i] = t.published()
			}
			sql = fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (%s)", quote(name), strings.Join(items, ", "), publishOptions)
		}
		return []string{sql}, "create the publication " + name, nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read publication %s: %w", name, err)
	}
	if all {
		return nil, "", &producers.HaltError{
			Err:  fmt.Errorf("publication %s is FOR ALL TABLES: tables without a key could not be updated any more", name),
			Hint: "DROP PUBLICATION " + quote(name),
		}
	}
	rows, err := conn.Query(ctx, `SELECT r.prrelid, n.nspname, c.relname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
		JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1`, name)
	if err != nil {
		return nil, "", fmt.Errorf("read publication %s: %w", name, err)
	}
	type member struct {
		OID          uint32
		Schema, Name string
	}
	members, err := pgx.CollectRows(rows, pgx.RowToStructByPos[member])
	if err != nil {
		return nil, "", fmt.Errorf("read publication %s: %w", name, err)
	}
	alter := "ALTER PUBLICATION " + quote(name)
	if !whole {
		ddl = append(ddl, alter+" SET ("+publishOptions+")")
	}
	wanted := map[uint32]bool{}
	for _, t := range tables {
		wanted[t.OID] = true
		if t.PubRel != 0 && t.Filtered {
			ddl = append(ddl, alter+" DROP TABLE "+t.published())
		}
		if t.PubRel == 0 || t.Filtered {
			ddl = append(ddl, alter+" ADD TABLE "+t.published())
		}
	}
	for _, m := range members {
		if only && !wanted[m.OID] {
			ddl = append(ddl, alter+" DROP TABLE "+quoteName(m.Schema, m.Name))
		}
	}
	return ddl, "alter the publication " + name, nil
}

// unpublish takes one table out of the publication.
func unpublish(ctx context.Context, conn *pgx.Conn, name string, t *catalogTable) error {
	return runDDL(ctx, conn, []string{fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE %s", quote(name), t.published())}, "alter the publication "+name)
}

// published is the table as an item of a publication. Tables that inherit from
// a plain table are tables of their own.
func (t *catalogTable) published() string {
	if t.Kind == "p" {
		return quoteName(t.Schema, t.Name)
	}
	return "ONLY " + quoteName(t.Schema, t.Name)
}

// runDDL runs statements as one transaction. If the role may not, the error
// holds them for someone who may.
func runDDL(ctx context.Context, conn *pgx.Conn, ddl []string, what string) error {
	_, err := conn.Exec(ctx, strings.Join(ddl, "; "), pgx.QueryExecModeSimpleProtocol)
	switch {
	case err == nil:
		return nil
	case code(err) == codeNoPrivilege:
		return &producers.HaltError{
			Err:  fmt.Errorf("%s: %w", what, err),
			Hint: "run as a role that may: " + strings.Join(ddl, "; "),
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}
