package bigqueryfake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// dataset is a dataset with its tables. Names of both tell upper from lower case.
type dataset struct {
	id          string
	location    string
	description string
	labels      map[string]string
	expireAfter time.Duration // of its tables; 0: never
	tables      map[string]*table
	created     time.Time
	etag        int64
}

// table is a table or a view. Fake.mu guards it.
type table struct {
	dataset, id string
	physical    string // its name in DuckDB, which no other table ever has
	view        []node // the query of a view
	viewText    string
	columns     []column
	// visible is, per column, when the write path takes it.
	visible     []time.Time
	partition   *partition
	cluster     []string
	key         []string
	description string
	labels      map[string]string
	expires     time.Time // zero: never
	created     time.Time
	modified    time.Time
	etag        int64
	updates     []time.Time // of the definition, in the last 10 s

	// Of the concurrency of statements.
	owner    *transaction // what changes rows of the table now
	waiting  int          // statements that wait for it
	mutated  int64        // the commit that last changed or removed rows
	streamed time.Time    // when the write path last added rows
	changes  changesOf
}

// partition is how a table is partitioned by a column.
type partition struct {
	column        string
	unit          string // HOUR, DAY, MONTH, YEAR
	expireMs      int64  // 0: never
	requireFilter bool
}

// columnsOfTable are the table's columns as they are now. f.mu is not held.
func (f *Fake) columnsOfTable(t *table) []column {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(t.columns)
}

// findColumn finds a column among those that the table has now; i is -1 if it has
// none of the name. f.mu is not held.
func (f *Fake) findColumn(t *table, name string) (i int, c column) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i = t.index(name); i >= 0 {
		c = t.columns[i]
	}
	return i, c
}

func (t *table) isView() bool { return t.view != nil }

// index finds a column. Case does not count.
func (t *table) index(name string) int {
	return slices.IndexFunc(t.columns, func(c column) bool { return strings.EqualFold(c.name, name) })
}

// touch notes that the table's definition has changed.
func (t *table) touch(now time.Time) {
	t.etag++
	t.modified = now
}

// has reports whether the table has the column.
func (f *Fake) has(t *table, name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return t.index(name) >= 0
}

var (
	datasetName = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	tableName   = regexp.MustCompile(`^[\p{L}\p{M}\p{N}\p{Pc}\p{Pd} ]+$`)
	columnName  = regexp.MustCompile("^[^!\"$()*,./;?@\\[\\\\\\]^`{}~\x00-\x1f\x7f]{1,300}$")
)

// reservedPrefixes cannot begin the name of a column.
var reservedPrefixes = []string{"_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER", "_CHANGE_"}

const (
	maxColumns = 10_000
	maxName    = 1024
)

func checkColumns(columns []column) *apiError {
	if len(columns) > maxColumns {
		return invalid("Too many total leaf fields: %d", len(columns))
	}
	seen := map[string]bool{}
	for _, c := range columns {
		upper := strings.ToUpper(c.name)
		switch {
		case !columnName.MatchString(c.name):
			return invalid("Invalid field name %q. Fields must contain the allowed characters, and be at most 300 characters long.", c.name)
		case seen[upper]:
			return invalid("Duplicate column name %s", c.name)
		case slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(upper, p) }):
			return invalid("Invalid field name %q. Field names are not allowed to start with a reserved prefix.", c.name)
		}
		seen[upper] = true
	}
	return nil
}

// addDataset makes a dataset. f.mu is held.
func (f *Fake) addDataset(d *dataset) *apiError {
	if !datasetName.MatchString(d.id) || len(d.id) > maxName {
		return invalid("Invalid dataset ID %q. Dataset IDs must be alphanumeric (plus underscores) and must be at most 1024 characters long.", d.id)
	}
	if f.datasets[d.id] != nil {
		return duplicate("Dataset %s:%s", f.opts.Project, d.id)
	}
	if d.location == "" {
		d.location = f.opts.Location
	}
	d.tables, d.created, d.etag = map[string]*table{}, f.now(), 1
	f.datasets[d.id] = d
	return nil
}

// dataset finds a dataset. f.mu is held.
func (f *Fake) dataset(id string) (*dataset, *apiError) {
	if d := f.datasets[id]; d != nil {
		return d, nil
	}
	return nil, notFound("Dataset %s:%s", f.opts.Project, id)
}

// tableAt finds a table that has not expired. f.mu is held.
func (f *Fake) tableAt(datasetID, id string) (*table, *apiError) {
	d, err := f.dataset(datasetID)
	if err != nil {
		return nil, err
	}
	t := d.tables[id]
	if t == nil || !t.expires.IsZero() && t.expires.Before(f.now()) {
		return nil, notFound("Table %s:%s.%s was not found in location %s", f.opts.Project, datasetID, id, d.location)
	}
	return t, nil
}

// addTable makes a table or a view, which has its columns. The table in DuckDB
// is made and filled before anyone sees it; f.mu is not held.
func (f *Fake) addTable(ctx context.Context, t *table, orReplace bool, fill func(physical string) error) error {
	if !tableName.MatchString(t.id) || len(t.id) > maxName {
		return invalid("Invalid table ID %q.", t.id)
	}
	if err := checkColumns(t.columns); err != nil {
		return err
	}
	if err := checkLabels(t.labels); err != nil {
		return err
	}
	if len(t.key) > 16 {
		return invalid("The primary key has %d columns; the most are 16", len(t.key))
	}
	if len(t.cluster) > 4 {
		return invalid("The table is clustered by %d columns; the most are 4", len(t.cluster))
	}
	for _, name := range slices.Concat(t.key, t.cluster) {
		if t.index(name) < 0 {
			return invalid("The field specified for clustering or the key cannot be found in the schema: %s", name)
		}
	}
	if t.partition != nil && t.index(t.partition.column) < 0 {
		return invalid("The field specified for partitioning cannot be found in the schema: %s", t.partition.column)
	}
	f.mu.Lock()
	d, missing := f.dataset(t.dataset)
	if missing != nil {
		f.mu.Unlock()
		return missing
	}
	if _, none := f.tableAt(t.dataset, t.id); none == nil && !orReplace {
		f.mu.Unlock()
		return duplicate("Table %s:%s.%s", f.opts.Project, t.dataset, t.id)
	}
	t.physical = fmt.Sprintf("main.bq_table_%d", f.next())
	t.created, t.modified, t.etag, t.changes = f.now(), f.now(), 1, changesOf{}
	t.visible = make([]time.Time, len(t.columns))
	f.mu.Unlock()
	if !t.isView() {
		if err := f.change(ctx, createText(t)); err != nil {
			return err
		}
	}
	if fill != nil {
		if err := fill(t.physical); err != nil {
			return errors.Join(err, f.change(context.WithoutCancel(ctx), "DROP TABLE "+t.physical))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.expires.IsZero() && d.expireAfter > 0 && !t.isView() {
		t.expires = t.created.Add(d.expireAfter)
	}
	// Another may have made it meanwhile: of two, one makes it.
	if _, none := f.tableAt(t.dataset, t.id); none == nil && !orReplace {
		return duplicate("Table %s:%s.%s", f.opts.Project, t.dataset, t.id)
	}
	d.tables[t.id] = t
	return nil
}

func createText(t *table) string {
	defs := make([]string, len(t.columns))
	for i, c := range t.columns {
		defs[i] = quoteName(c.name) + " " + c.typ.duck()
		if c.required {
			defs[i] += " NOT NULL"
		}
	}
	return "CREATE TABLE " + t.physical + " (" + strings.Join(defs, ", ") + ")"
}

// change runs a definition in DuckDB while nothing writes rows.
func (f *Fake) change(ctx context.Context, text string) error {
	f.ddl.Lock()
	defer f.ddl.Unlock()
	_, err := f.db.ExecContext(ctx, text)
	return err
}

// mayChange counts a change of a table's definition.
func (f *Fake) mayChange(t *table) *apiError {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opts.TableUpdates <= 0 {
		return nil
	}
	since := f.now().Add(-10 * time.Second)
	t.updates = slices.DeleteFunc(t.updates, func(at time.Time) bool { return at.Before(since) })
	if len(t.updates) >= f.opts.TableUpdates {
		return &apiError{http.StatusForbidden, "rateLimitExceeded", "Exceeded rate limits: too many table update operations for this table."}
	}
	t.updates = append(t.updates, f.now())
	return nil
}

// addColumn adds a column to a table that is there.
func (f *Fake) addColumn(ctx context.Context, t *table, c column) error {
	if c.required {
		return invalid("Cannot add required fields to an existing schema. (field: %s)", c.name)
	}
	f.mu.Lock()
	err := checkColumns(append(slices.Clone(t.columns), c))
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if err := f.change(ctx, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", t.physical, quoteName(c.name), c.typ.duck())); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.columns = append(t.columns, c)
	t.visible = append(t.visible, f.now().Add(f.opts.SchemaDelay))
	t.touch(f.now())
	return nil
}

// dropTable takes a table away. f.mu is not held.
func (f *Fake) dropTable(ctx context.Context, t *table) error {
	f.mu.Lock()
	delete(f.datasets[t.dataset].tables, t.id)
	f.mu.Unlock()
	if t.isView() {
		return nil
	}
	return f.change(ctx, "DROP TABLE "+t.physical)
}

// expire removes the partitions that are too old, by the fake's clock.
func (f *Fake) expire(ctx context.Context) error {
	f.mu.Lock()
	var texts []string
	for _, d := range f.datasets {
		for _, t := range d.tables {
			if t.partition == nil || t.partition.expireMs == 0 {
				continue
			}
			oldest := f.now().Add(-time.Duration(t.partition.expireMs) * time.Millisecond)
			texts = append(texts, fmt.Sprintf("DELETE FROM %s WHERE CAST(%s AS TIMESTAMPTZ) + INTERVAL 1 %s <= make_timestamptz(%d)",
				t.physical, fmt.Sprintf("date_trunc('%s', %s)", t.partition.unit, quoteName(t.partition.column)), t.partition.unit, oldest.UnixMicro()))
		}
	}
	f.mu.Unlock()
	f.ddl.Lock()
	defer f.ddl.Unlock()
	for _, text := range texts {
		if _, err := f.db.ExecContext(ctx, text); err != nil && !strings.Contains(err.Error(), "onflict") {
			return err // a transaction that changes the row now keeps it a little longer
		}
	}
	return nil
}
