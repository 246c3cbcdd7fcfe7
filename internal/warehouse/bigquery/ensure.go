package bigquery

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Ensure makes what is missing of a core table. Each statement can be repeated,
// and the table itself comes last but for its view: a process that dies on the
// way leaves nothing that the next Ensure does not complete.
func (w *Warehouse) Ensure(ctx context.Context, want warehouse.CoreTable) error {
	t, err := w.entry(want.Name)
	if err != nil {
		return fmt.Errorf("ensure %s: %w", want.Name, err)
	}
	if err := errors.Join(coretable.Check(want, schemas.ModeUpsert), checkSpelling(want), checkUpsert(want)); err != nil {
		return fmt.Errorf("ensure %s: %w", want.Name, err)
	}
	t.ddl.Lock()
	defer t.ddl.Unlock()
	for range ensureAttempts {
		if err = w.ensure(ctx, t, want); err == nil {
			return nil
		}
		t.def = coretable.Definition{} // what is known is read again
		if classOf(err) != fenced {
			break
		}
	}
	return fmt.Errorf("ensure %s: %w", want.Name, err)
}

// ensureAttempts is how often the table may be taken over while it is changed.
const ensureAttempts = 3

func (w *Warehouse) ensure(ctx context.Context, t *table, want warehouse.CoreTable) error {
	// The view is read first: others may add a column meanwhile, and then it is in
	// the table before it is in the view.
	view, there, err := w.metadata(ctx, t.name.Dataset, t.name.Table)
	if err != nil {
		return err
	}
	def, head, found, err := w.readTable(ctx, t.name)
	if err != nil {
		return err
	}
	if !found {
		return w.create(ctx, t, want)
	}
	if there {
		if err := checkShown(def, t.name, view); err != nil {
			return err
		}
	}
	next, steps, err := def.Evolve(w.dialect, want)
	if err != nil {
		return err
	}
	if len(next.Columns) > len(def.Columns) {
		if err := w.checkWidth(next, t.name, want); err != nil {
			return err
		}
	}
	var s []string
	c := next.Defined(w.dialect, t.name)
	if len(next.Unsettable) > len(def.Unsettable) {
		text, err := encode(next.Unsettable)
		if err != nil {
			return fmt.Errorf("encode which columns can be unset: %w", err)
		}
		s = append(s, sqlgen.Bind(w.dialect.SetUnsettable(t.name), w.dialect.Text(text)))
	}
	var adds []int
	for _, step := range steps {
		if step.Add {
			adds = append(adds, step.Column)
			continue
		}
		s = append(s, c.AlterType(c.Base(c.Name), step.Column))
		if slices.Contains(def.Images, next.Columns[step.Column].Name) {
			s = append(s, c.AlterType(w.dialect.Changes(t.name), step.Column))
		}
	}
	if len(adds) > 0 {
		s = append(s, c.AddColumns(adds))
	}
	if c.Mode != schemas.ModeUpsert {
		if _, staged, err := w.metadata(ctx, sqlgen.Schema, c.Staging()); err != nil {
			return err
		} else if !staged {
			s = append(s, c.CreateStaging())
		}
	}
	// The view is compared, and not taken to follow the table: an earlier Ensure
	// may have died between the two.
	shown, _ := fieldsOf(view)
	c.Description = want.Description
	said, err := w.remarks(ctx, c, want)
	if err != nil {
		return err
	}
	s = append(s, said...)
	if len(steps)+len(said) > 0 || !slices.Equal(shown, shows(next)) {
		s = append(s, c.CreateView())
	}
	if len(s) > 0 {
		// No transaction fences a definition. A process that was held up on its way
		// here, and whose table others have taken over since, must not put an old
		// view in place of theirs.
		s = append([]string{w.dialect.Owner(t.name, head.Epoch)}, s...)
		if err := w.ddl(ctx, t.name, s...); err != nil {
			return err
		}
	}
	t.def, t.asOf = next, head.Epoch
	return w.keepImages(ctx, t)
}

// shows are the columns of the reader's view.
func shows(def coretable.Definition) (names []string) {
	for _, c := range def.Columns {
		names = append(names, c.Name)
	}
	if def.Mode == schemas.ModeAppend {
		names = append(names, sqlgen.ColOp, sqlgen.ColPos, sqlgen.ColTs, sqlgen.ColLoad, sqlgen.ColUnset)
	}
	return names
}

func (w *Warehouse) create(ctx context.Context, t *table, want warehouse.CoreTable) error {
	n := t.name
	if err := w.checkNew(ctx, n); err != nil {
		return err
	}
	def := coretable.New(w.dialect, want)
	if err := w.checkWidth(def, n, want); err != nil {
		return err
	}
	c := def.Defined(w.dialect, n)
	c.Description = want.Description
	for _, name := range want.EventTimes[:min(1, len(want.EventTimes))] {
		c.EventTimes = []int{coretable.ColumnIndex(c.Columns, name)}
	}
	key, err := encode(append([]string{}, want.Key...))
	if err != nil {
		return fmt.Errorf("encode the key: %w", err)
	}
	unsettable, err := encode(append([]string{}, def.Unsettable...))
	if err != nil {
		return fmt.Errorf("encode which columns can be unset: %w", err)
	}
	if len(c.CreateBase()) > maxStatement-roomForHead {
		w.opts.Logger.Warn("comments of columns are left out: they are too long for one statement", "table", n.String())
		for i := range c.Columns {
			c.Columns[i].Description = ""
		}
	}
	s := []string{
		w.dialect.CreateDatasets(sqlgen.Schema, n.Dataset, n.BaseDataset()),
		w.dialect.CreateHeadRow(n, want.Mode, key, unsettable), w.dialect.CreateLoads(n), w.dialect.CreateNeeds(n),
	}
	if c.Mode != schemas.ModeUpsert {
		s = append(s, c.CreateStaging())
	}
	if err = w.ddl(ctx, n, append(s, c.CreateBase(), c.CreateView())...); err != nil {
		return err
	}
	// Another process may have made it first, and otherwise; and there may be
	// needs of it already.
	def, head, found, err := w.readTable(ctx, n)
	if err == nil && !found {
		err = warehouse.ErrNoTable
	}
	if err != nil {
		return err
	}
	if _, steps, err := def.Evolve(w.dialect, want); err != nil || len(steps) > 0 {
		return errors.Join(errors.New("another process made it at the same time, and otherwise"), err)
	}
	t.def, t.asOf = def, head.Epoch
	return w.keepImages(ctx, t)
}

// ddl runs statements that define: as one script, as long as they change no
// definition more often than it can be changed at a time.
func (w *Warehouse) ddl(ctx context.Context, n sqlgen.Name, statements ...string) error {
	for _, part := range w.updates.chunks(statements) {
		if err := w.updates.wait(ctx, part); err != nil {
			return err
		}
		_, err := w.run(ctx, task{
			what: "define", table: n.String(), id: w.jobID("define", randomID()),
			text: func(string) string { return sqlgen.Script(part...) },
		})
		w.updates.ran(part)
		if err != nil {
			return err
		}
	}
	return nil
}

// keepImages makes the table of images fit what is needed. Columns that nobody
// needs any more stay; loads do not write them. t.ddl is held.
func (w *Warehouse) keepImages(ctx context.Context, t *table) error {
	t.imaged = false
	changed, some := t.def.Imaged()
	if !some {
		t.imaged = true
		return nil
	}
	c := t.def.Defined(w.dialect, t.name)
	c.Changed = changed
	var missing []int
	for _, i := range changed {
		if !slices.Contains(t.def.Images, c.Columns[i].Name) {
			missing = append(missing, i)
		}
	}
	if len(t.def.Images) > 0 && len(missing) == 0 {
		t.imaged = true
		return nil
	}
	s := []string{c.CreateChanges()}
	if len(t.def.Images) == 0 {
		// It may have been dropped by hand: who has not read all of it yet computes
		// everything.
		s = append(s, w.dialect.SweptSoFar(t.name))
	}
	if len(missing) > 0 && len(t.def.Images) > 0 {
		s = append(s, c.AddImageColumns(missing))
	}
	if err := w.ddl(ctx, t.name, s...); err != nil {
		return fmt.Errorf("make the table of images: %w", err)
	}
	var err error
	t.def.Images, _, err = w.columnsOf(ctx, sqlgen.Schema, t.name.Own("changes"))
	t.imaged = err == nil
	return err
}

// SetNeeds replaces what the spec needs kept of the table. An empty Kept takes
// its needs back. The table's writer may be another process: it sees them with
// its next load, and keeps them from the one after that on. The table need not
// be there yet.
func (w *Warehouse) SetNeeds(ctx context.Context, name, spec string, k warehouse.Kept) error {
	t, err := w.entry(name)
	if err != nil {
		return fmt.Errorf("set the needs of %s in %s: %w", spec, name, err)
	}
	t.ddl.Lock()
	defer t.ddl.Unlock()
	needs := coretable.Needs(spec, k)
	pairs := make([][2]string, len(needs))
	for i, n := range needs {
		pairs[i] = [2]string{n.Kind, n.Column}
	}
	err = w.ddl(ctx, t.name, w.dialect.CreateDatasets(sqlgen.Schema), w.dialect.CreateNeeds(t.name),
		strings.TrimSuffix(w.dialect.NeedsScript(t.name, spec, pairs), ";\n"))
	if err == nil && len(t.def.Columns) > 0 {
		t.def.Needs = append(slices.DeleteFunc(slices.Clone(t.def.Needs), func(n coretable.Need) bool { return n.Spec == spec }), needs...)
		err = w.keepImages(ctx, t)
	}
	if err != nil {
		return fmt.Errorf("set the needs of %s in %s: %w", spec, name, passing(err))
	}
	return nil
}

// What BigQuery takes as names. A column's may be almost any text, but some
// beginnings are the service's own.
var (
	badColumn = regexp.MustCompile("[!\"$()*,./;?@\\[\\]\\\\^`{}~\x00-\x1f]")
	datasets  = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	tables    = regexp.MustCompile(`^[\pL\pM\pN\p{Pc}\p{Pd}\p{Zs}]+$`)
)

const (
	maxColumnName = 300
	maxTableName  = 1024 // bytes, with what Millrace puts around it
	maxColumns    = 10_000
)

func checkSpelling(want warehouse.CoreTable) error {
	dataset, name, _ := strings.Cut(want.Name, ".")
	var errs []error
	if !datasets.MatchString(dataset) {
		errs = append(errs, fmt.Errorf("dataset %q: BigQuery takes letters, digits and underscores", dataset))
	}
	if !tables.MatchString(name) || len(name)+len(dataset) > maxTableName-32 {
		errs = append(errs, fmt.Errorf("table %q: BigQuery takes letters, digits, spaces, dashes and underscores, about a thousand bytes of them", name))
	}
	if len(want.Columns) > maxColumns-16 {
		errs = append(errs, fmt.Errorf("%d columns: BigQuery takes %d", len(want.Columns), maxColumns-16))
	}
	for _, c := range want.Columns {
		upper := strings.ToUpper(c.Name)
		taken := slices.ContainsFunc([]string{"_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER", "_CHANGE_"}, func(p string) bool {
			return strings.HasPrefix(upper, p)
		})
		switch {
		case taken:
			errs = append(errs, fmt.Errorf("column %q: BigQuery keeps names that begin so for itself", c.Name))
		case badColumn.MatchString(c.Name) || len([]rune(c.Name)) > maxColumnName:
			errs = append(errs, fmt.Errorf("column %q: BigQuery does not take such a name", c.Name))
		}
	}
	for _, k := range want.Key {
		i := slices.IndexFunc(want.Columns, func(c schemas.Column) bool { return c.Name == k })
		if i >= 0 && want.Columns[i].Type.Kind == schemas.JSON {
			errs = append(errs, fmt.Errorf("key column %q: BigQuery cannot compare JSON", k))
		}
	}
	return errors.Join(errs...)
}
