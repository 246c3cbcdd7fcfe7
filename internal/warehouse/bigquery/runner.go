package bigquery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
// as it is then: of a table that was taken away by hand, everything has to be
// computed.
func (r *Runner) shape(ctx context.Context, d *sqlgen.Derived, h warehouse.DerivedHead) (warehouse.DerivedHead, error) {
	s := []string{r.dialect.Owner(d.Name, h.Epoch)}
	md, found, err := r.metadata(ctx, d.Name.Dataset, d.Name.Table)
	if err != nil {
		return h, err
	}
	lost := !found && h.Absorbed != nil
	if lost {
		s = append(s, d.Restart(h.Epoch)...)
		h = warehouse.DerivedHead{Epoch: h.Epoch, Load: h.Load, Revision: h.Revision, Complete: h.Complete}
	}
	switch _, remade, err := r.metadata(ctx, d.Name.Dataset, d.Remade()); {
	case err != nil:
		return h, err
	case found:
		s = append(s, reshape(d, md)...)
	case remade:
		s = append(s, d.PutRemade())
	default:
		s = append(s, d.CreateTable())
	}
	names, types, err := r.columnsOf(ctx, sqlgen.Schema, d.Name.Own("dirty"))
	if err != nil {
		return h, err
	}
	if !lost && !holdsDirt(d, names, types) {
		// The scope has changed, and with it the code hash, which dirties everything.
		s = append(s, "DROP TABLE IF EXISTS "+r.dialect.Dirty(d.Name), d.CreateDirty())
	}
	names, types, err = r.columnsOf(ctx, sqlgen.Schema, d.Name.Own("changes"))
	if err != nil {
		return h, err
	}
	if !d.ImagesFit(names, types) {
		s = append(s, d.RemakeImages(names, types)...)
	}
	if len(s) == 1 {
		return h, nil
	}
	return h, r.ddl(ctx, d.Name, s...)
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
func reshape(d *sqlgen.Derived, md *api.Table) (s []string) {
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
	switch {
	case !laidOut(d, md) || slices.ContainsFunc(have, func(name string) bool { return !kept(name) }):
		return d.Remake(kept)
	case len(missing) > 0:
		s = append(s, d.AddColumns(missing))
	}
	// What people have written where the spec says nothing stays.
	if d.Description != "" && md.Description != d.Description || !labelled(d, md) {
		s = append(s, d.Describe())
	}
	var remarks []string
	for _, f := range md.Schema.Fields {
		if remark := d.Remarks[f.Name]; remark != "" && sqlgen.Remark(remark) != f.Description {
			remarks = append(remarks, f.Name)
		}
	}
	if len(remarks) > 0 {
		s = append(s, d.Explain(remarks))
	}
	return s
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
