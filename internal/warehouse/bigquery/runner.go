package bigquery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	api "google.golang.org/api/bigquery/v2"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

// Runner keeps the derived tables of a Warehouse.
type Runner struct {
	*Warehouse
	runs atomic.Int64 // numbers the runs of this process

	mu      sync.Mutex // what follows, by table
	derived map[string]bool
	known   map[string]*knownRun
}

// knownRun is what this process knows of a derived table that it owns.
type knownRun struct {
	needs [][]string // pairs of kind and column behind the spec; nil: not known
	// imaged are the columns that the table of images has for sure.
	imaged []string
}

var _ warehouse.Runner = (*Runner)(nil)

// Runner is described at warehouse.Warehouse.
func (w *Warehouse) Runner() warehouse.Runner { return w.newRunner() }

func (w *Warehouse) newRunner() *Runner {
	return &Runner{Warehouse: w, derived: map[string]bool{}, known: map[string]*knownRun{}}
}

// table is the table for the generator of SQL.
func (r *Runner) table(t warehouse.DerivedTable) (*sqlgen.Derived, error) {
	n, err := r.dialect.ParseName(t.Name)
	if err != nil {
		return nil, err
	}
	d := &sqlgen.Derived{
		Dialect: r.dialect, Name: n, Key: t.Key, Owning: t.Owning, Window: t.Window, Append: t.Append,
		Partition: cmp.Or(t.Partition, t.Window), Cluster: t.Cluster, Description: t.Description, Labels: t.Labels, Remarks: map[string]string{},
	}
	if len(d.Cluster) == 0 && !t.Append {
		d.Cluster = t.Key
	}
	for _, c := range t.Columns {
		d.Columns, d.Types = append(d.Columns, c.Name), append(d.Types, c.SQLType)
		d.Remarks[c.Name] = c.Description
	}
	return d, nil
}

// Acquire is described at warehouse.Runner. The table is changed only after the
// revision was found to be no earlier than the head's, and only as long as the
// epoch is still this one.
func (r *Runner) Acquire(ctx context.Context, t warehouse.DerivedTable, revision int64) (h warehouse.DerivedHead, err error) {
	d, err := r.table(t)
	if err != nil {
		return h, err
	}
	r.forgetRun(t.Name)
	n := d.Name
	if err := r.checkDerived(ctx, n); err != nil {
		return h, fmt.Errorf("acquire %s: %w", t.Name, err)
	}
	err = r.ddl(ctx, n, r.dialect.CreateDatasets(sqlgen.Schema, n.Dataset), r.dialect.CreateScratch(), r.dialect.CreateDerivedHeadRow(n), r.dialect.CreateLoads(n),
		r.dialect.CreateNeeds(n), d.CreateDirty())
	if err != nil {
		return h, fmt.Errorf("acquire %s: make its head: %w", t.Name, err)
	}
	res, err := r.run(ctx, task{
		what: "acquire", table: t.Name, id: r.jobID("acquire", t.Name, randomID()), attempts: math.MaxInt,
		text: func(string) string { return r.dialect.TakeOverDerivedScript(n, revision) },
	})
	if err != nil {
		if classOf(err) == fenced {
			err = r.laterRevision(ctx, n, err)
		}
		return h, fmt.Errorf("acquire %s: %w", t.Name, asBusy(err))
	}
	if h, err = derivedHeadOf(n, res.rows); err != nil {
		return h, fmt.Errorf("acquire %s: %w", t.Name, err)
	}
	if h, err = r.shape(ctx, d, h); err != nil {
		return h, fmt.Errorf("acquire %s: give it its columns: %w", t.Name, asFenced(err))
	}
	return h, r.opts.Fault.At(ctx, PointRunAcquired)
}

// laterRevision says what it means that no head could be taken over.
func (r *Runner) laterRevision(ctx context.Context, n sqlgen.Name, err error) error {
	rows, readErr := r.query(ctx, n, r.dialect.ReadDerivedHead(n))
	if readErr != nil {
		return readErr
	}
	if _, readErr = derivedHeadOf(n, rows); readErr != nil {
		return readErr
	}
	return fmt.Errorf("%w: %w", warehouse.ErrRevision, err)
}

// shape makes the table, or gives it the columns that it is to have. The head is
// as it is then. What the code before has left is taken away only after the head
// has forgotten that code: it may come back before this one has computed anything
// (G7).
func (r *Runner) shape(ctx context.Context, d *sqlgen.Derived, h warehouse.DerivedHead) (warehouse.DerivedHead, error) {
	md, found, err := r.metadata(ctx, d.Name.Dataset, d.Name.Table)
	if err != nil {
		return h, err
	}
	_, remade, err := r.metadata(ctx, d.Name.Dataset, d.Remade())
	if err != nil {
		return h, err
	}
	owner := r.dialect.Owner(d.Name, h.Epoch)
	if !found && remade { // the process that made it died before it had put it there
		if err := r.putRemade(ctx, d, owner, d.ForgetCode(h.Epoch)); err != nil {
			return h, err
		}
		h.CodeHash = ""
		if md, found, err = r.metadata(ctx, d.Name.Dataset, d.Name.Table); err != nil {
			return h, err
		}
		remade = false
	}
	c, err := r.shaping(ctx, d, md, found, h)
	if err != nil {
		return h, err
	}
	s := []string{owner}
	switch {
	case c.lost:
		s = append(s, d.Restart(h.Epoch)...)
		h = warehouse.DerivedHead{Epoch: h.Epoch, Load: h.Load, Revision: h.Revision, Complete: h.Complete}
	case c.lossy && h.CodeHash != "":
		s = append(s, d.ForgetCode(h.Epoch))
		h.CodeHash = ""
	}
	if remade && !c.remake {
		s = append(s, d.DropRemade())
	}
	if s = append(s, c.statements...); len(s) > 1 {
		if err := r.ddl(ctx, d.Name, s...); err != nil {
			return h, err
		}
	}
	if c.remake {
		return h, r.putRemade(ctx, d, owner)
	}
	return h, nil
}

// putRemade puts the remade table into its place, as a script that is not
// repeated: the next Acquire goes on from what is there.
func (r *Runner) putRemade(ctx context.Context, d *sqlgen.Derived, before ...string) error {
	_, err := r.run(ctx, task{
		what: "define", table: d.Name.String(), id: r.jobID("define", randomID()), attempts: 1,
		text: func(string) string { return sqlgen.Script(append(before, d.PutRemade()...)...) },
	})
	return err
}

// shaping is what a derived table, and what stands beside it, lack.
type shaping struct {
	statements []string
	lossy      bool // values of the code before go
	lost       bool // the table is gone, and what the head says with it
	remake     bool // the statements make a table that is to take the table's place
}

func (r *Runner) shaping(ctx context.Context, d *sqlgen.Derived, md *api.Table, found bool, h warehouse.DerivedHead) (c shaping, err error) {
	switch {
	case found:
		c = reshape(d, md)
	case h.Absorbed != nil && d.Append:
		// Those who add what it adds would add all of it again.
		return c, gone(d.Name.Dataset, d.Name.Table, "and it is a log, which cannot be computed again")
	default:
		c = shaping{lost: h.Absorbed != nil, statements: []string{d.CreateTable()}}
	}
	names, types, err := r.columnsOf(ctx, sqlgen.Schema, d.Name.Own("dirty"))
	if err != nil {
		return c, err
	}
	if !c.lost && !holdsDirt(d, names, types) {
		c.lossy = true
		c.statements = append(c.statements, "DROP TABLE IF EXISTS "+r.dialect.Dirty(d.Name), d.CreateDirty())
	}
	names, types, err = r.columnsOf(ctx, sqlgen.Schema, d.Name.Own("changes"))
	if err != nil {
		return c, err
	}
	if !d.ImagesFit(names, types) {
		c.lossy = true
		c.statements = append(c.statements, d.RemakeImages(names, types)...)
	}
	return c, nil
}

// holdsDirt reports whether a table of dirt is of windows, or of the owning keys.
func holdsDirt(d *sqlgen.Derived, names, types []string) bool {
	want := d.Owning
	if len(want) == 0 {
		want = []string{"window_start"}
	}
	if len(names) <= len(want) || !slices.Equal(names[:len(want)], want) || names[len(want)] != "mark" {
		return false
	}
	for i, name := range d.Owning {
		if sqlgen.BareType(types[i]) != sqlgen.BareType(d.Types[slices.Index(d.Columns, name)]) {
			return false
		}
	}
	return true
}

// reshape gives the table that is there its columns, and keeps it as it is to be
// kept. Values of a column of another type come with the runs that the new code
// causes.
func reshape(d *sqlgen.Derived, md *api.Table) (c shaping) {
	var have, types []string
	for _, f := range md.Schema.Fields {
		have, types = append(have, f.Name), append(types, typeName(f))
	}
	want := d.Columns
	if d.Append {
		want = append(slices.Clone(want), sqlgen.ColLoad)
	}
	kept := func(name string) bool {
		i, w := slices.Index(have, name), slices.Index(d.Columns, name)
		return i >= 0 && slices.Contains(want, name) && (w < 0 || types[i] == d.Types[w])
	}
	missing := slices.DeleteFunc(slices.Clone(want), func(name string) bool { return slices.Contains(have, name) })
	c.lossy = slices.ContainsFunc(have, func(name string) bool { return !kept(name) })
	if c.remake = c.lossy || !laidOut(d, md); c.remake {
		c.statements = d.Remake(kept)
		return c
	}
	if len(missing) > 0 {
		c.statements = append(c.statements, d.AddColumns(missing))
	}
	// What people have written where the spec says nothing stays.
	if d.Description != "" && md.Description != d.Description || !labelled(d, md) {
		said := *d
		said.Labels = maps.Clone(md.Labels)
		if said.Labels == nil {
			said.Labels = map[string]string{}
		}
		maps.Copy(said.Labels, sqlgen.Labels(d.Labels))
		if said.Description == "" {
			said.Description = md.Description
		}
		c.statements = append(c.statements, said.Describe())
	}
	var remarks []string
	for _, f := range md.Schema.Fields {
		if remark := d.Remarks[f.Name]; remark != "" && sqlgen.Remark(remark) != f.Description {
			remarks = append(remarks, f.Name)
		}
	}
	if len(remarks) > 0 {
		c.statements = append(c.statements, d.Explain(remarks))
	}
	return c
}

// laidOut reports whether the table is kept by the columns by which it is to be.
func laidOut(d *sqlgen.Derived, md *api.Table) bool {
	partition, cluster := d.Layout()
	var by string
	if md.TimePartitioning != nil {
		by = md.TimePartitioning.Field
	}
	var together []string
	if md.Clustering != nil {
		together = md.Clustering.Fields
	}
	return partition == by && slices.Equal(cluster, together)
}

// labelled reports whether the table has the labels of its spec. Others may have
// put more on it.
func labelled(d *sqlgen.Derived, md *api.Table) bool {
	for name, value := range sqlgen.Labels(d.Labels) {
		if have, ok := md.Labels[name]; !ok || have != value {
			return false
		}
	}
	return true
}

func derivedHeadOf(n sqlgen.Name, rows [][]any) (h warehouse.DerivedHead, err error) {
	if len(rows) != 1 || len(rows[0]) != 9 {
		return h, headRows(n, len(rows))
	}
	row := rows[0]
	h.Epoch, h.Load, h.Revision = number(row[0]), number(row[1]), number(row[2])
	h.CodeHash = str(row[3])
	h.Complete = instant(row[7])
	h.Ready, _ = row[8].(bool)
	if h.Begin, err = civil(row[5]); err == nil {
		h.Frontier, err = civil(row[6])
	}
	if err = errors.Join(err, json.Unmarshal([]byte(str(row[4])), &h.Absorbed)); err != nil {
		return h, fmt.Errorf("decode the head of %s: %w", n, err)
	}
	return h, nil
}

func number(v any) int64 {
	n, _ := v.(int64)
	return n
}

func instant(v any) time.Time {
	at, _ := v.(time.Time)
	return at
}

// civil reads a DATETIME; a null is the zero time.
func civil(v any) (time.Time, error) {
	if v == nil {
		return time.Time{}, nil
	}
	return time.Parse("2006-01-02T15:04:05", strings.Replace(str(v), " ", "T", 1))
}

// Turn is described at warehouse.Runner. The service has a queue of its own.
func (r *Runner) Turn(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("wait for a turn: %w", context.Cause(ctx))
	}
	return func() {}, nil
}

// Dirt is described at warehouse.Runner.
func (r *Runner) Dirt(ctx context.Context, t warehouse.DerivedTable) (dirt []warehouse.Dirt, keys warehouse.KeyDirt, err error) {
	d, err := r.table(t)
	if err != nil {
		return nil, keys, err
	}
	if len(d.Owning) > 0 {
		rows, err := r.query(ctx, d.Name, d.SumDirty())
		if err != nil || len(rows) != 1 {
			return nil, keys, fmt.Errorf("read the dirt of %s: %w", t.Name, err)
		}
		row := rows[0]
		keys = warehouse.KeyDirt{Keys: number(row[0]), Mark: number(row[1]), Since: instant(row[4]), Error: str(row[5])}
		if due, _ := row[2].(bool); !due {
			keys.RetryAt = instant(row[3])
		}
		return nil, keys, nil
	}
	rows, err := r.query(ctx, d.Name, d.ReadDirty())
	if err != nil {
		return nil, keys, fmt.Errorf("read the dirt of %s: %w", t.Name, err)
	}
	for _, row := range rows {
		w := warehouse.Dirt{Mark: number(row[1]), Since: instant(row[3]), Error: str(row[5]), Failures: int(number(row[6])), RetryAt: instant(row[7])}
		w.Backfill, _ = row[2].(bool)
		if w.Window, err = civil(row[0]); err == nil {
			err = json.Unmarshal([]byte(str(row[4])), &w.Cause)
		}
		if err != nil {
			return nil, keys, fmt.Errorf("read the dirt of %s: %w", t.Name, err)
		}
		dirt = append(dirt, w)
	}
	return dirt, keys, nil
}

// SetNeeds is described at warehouse.Runner.
func (r *Runner) SetNeeds(ctx context.Context, table, spec string, k warehouse.Kept) error {
	r.forgetRun(table)
	return r.Warehouse.SetNeeds(ctx, table, spec, k)
}

// forgetRun makes the next run of the table read what it needs.
func (r *Runner) forgetRun(table string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, table)
}
