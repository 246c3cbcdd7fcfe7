package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// catalogTable is what the catalog says about a table now.
type catalogTable struct {
	OID         uint32            `json:"oid"`
	Schema      string            `json:"schema"`
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`     // relkind: r, p; v, m, f, … cannot be captured
	Persistence string            `json:"persist"`  // p, u, t
	Identity    string            `json:"identity"` // relreplident: d, i, f, n
	Description string            `json:"description"`
	Readable    bool              `json:"readable"`
	Role        string            `json:"role"`     // that reads the catalog
	PubRel      uint32            `json:"pubrel"`   // oid of its row in the publication; 0 if it is not in it
	Filtered    bool              `json:"filtered"` // the publication leaves out rows, columns or operations
	Leaves      map[uint32]uint32 `json:"leaves"`   // filenode of the table, or of each leaf partition, by oid
	Columns     []catalogColumn   `json:"columns"`
	Indexes     []catalogIndex    `json:"indexes"`
}

type catalogColumn struct {
	Name        string            `json:"name"`
	Num         int16             `json:"num"`
	TypeOID     uint32            `json:"type"`
	Typmod      int32             `json:"mod"`
	NotNull     bool              `json:"notnull"`
	Default     bool              `json:"default"`
	Missing     bool              `json:"missing"` // older rows have a value that is not stored in them
	Storage     string            `json:"storage"`
	Xmin        string            `json:"xmin"` // the transaction that last changed the column's definition
	Description string            `json:"description"`
	Labels      map[string]string `json:"labels"`     // of an enum
	TypeSchema  string            `json:"typeschema"` // where the type's operators are
}

// catalogIndex is a unique index on columns.
type catalogIndex struct {
	Name       string   `json:"name"`
	Constraint string   `json:"constraint"`
	Primary    bool     `json:"primary"`
	Immediate  bool     `json:"immediate"` // not deferrable
	Identity   bool     `json:"identity"`
	Columns    []string `json:"columns"`
}

func (t *catalogTable) id() string { return t.Schema + "." + t.Name }

func (t *catalogTable) columnNames() (names []string) {
	for _, c := range t.Columns {
		names = append(names, c.Name)
	}
	return names
}

func (t *catalogTable) column(name string) *catalogColumn {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// catalogSQL gives one JSON document per existing table. $1 and $2 are schemas
// and names, $3 the publication. It takes no lock on the tables, so it never
// waits for DDL. Generated columns are not in the log.
const catalogSQL = `
SELECT jsonb_build_object(
	'oid', c.oid::int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'persist', c.relpersistence,
	'identity', c.relreplident, 'description', coalesce(obj_description(c.oid, 'pg_class'), ''),
	'readable', has_schema_privilege(n.oid, 'USAGE') AND (has_table_privilege(c.oid, 'SELECT') OR NOT EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT'))),
	'pubrel', coalesce(pr.oid::int8, 0),
	'role', current_user,
	'filtered', coalesce(to_jsonb(pr)->>'prqual', to_jsonb(pr)->>'prattrs') IS NOT NULL
		OR NOT (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot),
	'leaves', coalesce((
		WITH RECURSIVE tree AS (
			SELECT c.oid AS id UNION ALL SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.id WHERE c.relkind = 'p'
		) SELECT jsonb_object_agg(l.oid, l.relfilenode::int8) FROM tree JOIN pg_class l ON l.oid = tree.id WHERE l.relkind <> 'p'), '{}'),
	'columns', (SELECT jsonb_agg(jsonb_build_object(
			'name', a.attname, 'num', a.attnum, 'type', a.atttypid::int8, 'mod', a.atttypmod, 'notnull', a.attnotnull,
			'default', a.atthasdef OR a.attidentity <> '', 'missing', a.atthasmissing, 'storage', a.attstorage, 'xmin', a.xmin::text,
			'description', coalesce(col_description(c.oid, a.attnum), ''),
			'labels', (SELECT jsonb_object_agg(e.oid, e.enumlabel) FROM pg_enum e WHERE e.enumtypid = a.atttypid),
			'typeschema', tn.nspname) ORDER BY a.attnum)
		FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace tn ON tn.oid = t.typnamespace
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
	'indexes', (SELECT jsonb_agg(jsonb_build_object(
			'name', ic.relname, 'constraint', coalesce(con.conname, ''), 'primary', i.indisprimary, 'immediate', i.indimmediate,
			'identity', i.indisreplident, 'columns', (
				SELECT jsonb_agg(a.attname ORDER BY k.ord) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(num, ord)
				JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.num WHERE k.ord <= i.indnkeyatts)) ORDER BY ic.relname)
		FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
		LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.contype IN ('p', 'u')
		WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL)
) AS doc
FROM unnest($1::text[], $2::text[]) w(s, t)
JOIN pg_namespace n ON n.nspname = w.s
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.t
LEFT JOIN (pg_publication_rel pr JOIN pg_publication p ON p.oid = pr.prpubid AND p.pubname = $3) ON pr.prrelid = c.oid`

// readCatalog reads the named tables; those that do not exist are absent.
func readCatalog(ctx context.Context, q querier, publication string, tables []TableConfig) (map[string]*catalogTable, error) {
	names, relations := splitNames(tables)
	rows, err := q.Query(ctx, catalogSQL, names, relations, publication)
	if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	docs, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	out := make(map[string]*catalogTable, len(docs))
	for _, doc := range docs {
		t := new(catalogTable)
		if err := json.Unmarshal(doc, t); err != nil {
			return nil, fmt.Errorf("read catalog: %w", err)
		}
		out[t.id()] = t
	}
	return out, nil
}

// tableNames are the tables of the database that could be captured.
func tableNames(ctx context.Context, q querier) ([]string, error) {
	rows, err := q.Query(ctx, `SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%' ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("read the names of tables: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read the names of tables: %w", err)
	}
	return names, nil
}

func splitNames(tables []TableConfig) (namespaces, relations []string) {
	for _, t := range tables {
		s, r, _ := t.split()
		namespaces, relations = append(namespaces, s), append(relations, r)
	}
	return namespaces, relations
}

// keyIndex is the index whose columns are the key: the configured columns, or
// the primary key. It is nil if there is none.
func (t *catalogTable) keyIndex(configured []string) *catalogIndex {
	for i := range t.Indexes {
		ix := &t.Indexes[i]
		if len(configured) == 0 && ix.Primary {
			return ix
		}
		if len(configured) > 0 && len(configured) == len(ix.Columns) &&
			!slices.ContainsFunc(configured, func(c string) bool { return !slices.Contains(ix.Columns, c) }) {
			return ix
		}
	}
	return nil
}

// identityColumns are the columns that the log carries of an old row; all
// means the whole row (REPLICA IDENTITY FULL).
func (t *catalogTable) identityColumns() (columns []string, all bool) {
	switch t.Identity {
	case "f":
		return nil, true
	case "d":
		for _, ix := range t.Indexes {
			if ix.Primary && ix.Immediate {
				return ix.Columns, false
			}
		}
	case "i":
		for _, ix := range t.Indexes {
			if ix.Identity {
				return ix.Columns, false
			}
		}
	}
	return nil, false
}
