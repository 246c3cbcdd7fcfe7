package bigquery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	api "google.golang.org/api/bigquery/v2"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// table is what this process knows of a core table. Nobody else changes a
// definition but by Ensure, and nobody else moves a head whose epoch is ours.
type table struct {
	name sqlgen.Name

	ddl    sync.Mutex           // def, imaged; held while they are read and changed in the service
	def    coretable.Definition // without columns: not read
	imaged bool                 // the table of images fits the needs
	asOf   int64                // the head's epoch when def was read, and those of this process that followed it

	mu     sync.Mutex      // head, stream, files; never held over a call
	head   *coretable.Head // nil: not known
	stream *stream         // nil: none, or a load has it
	files  fileCount
}

// known is the head, if it is known.
func (t *table) known() *coretable.Head {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.head
}

// learn notes a head that was read or written; nil says that it is not known
// any more. What is older than what is known is of no interest.
func (t *table) learn(h *coretable.Head) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h != nil && t.head != nil && (t.head.Epoch > h.Epoch || t.head.Epoch == h.Epoch && t.head.Load > h.Load) {
		return
	}
	t.head = h
}

// entry is the state of the named table, read or not.
func (w *Warehouse) entry(name string) (*table, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.tables[name]; t != nil {
		return t, nil
	}
	n, err := w.dialect.ParseName(name)
	if err != nil {
		return nil, err
	}
	t := &table{name: n}
	w.tables[name] = t
	return t, nil
}

// forget makes the next use of the table read its definition.
func (t *table) forget() {
	t.ddl.Lock()
	defer t.ddl.Unlock()
	t.def = coretable.Definition{}
}

// follows forgets the definition if others have owned the table since it was read.
func (t *table) follows(epoch int64) {
	t.ddl.Lock()
	defer t.ddl.Unlock()
	if epoch != t.asOf+1 {
		t.def = coretable.Definition{}
	}
	t.asOf = epoch
}

// definition is the definition of a table that Ensure has made, with the table
// of images that its needs want.
func (w *Warehouse) definition(ctx context.Context, t *table) (coretable.Definition, error) {
	t.ddl.Lock()
	defer t.ddl.Unlock()
	if len(t.def.Columns) == 0 {
		def, head, found, err := w.readTable(ctx, t.name)
		if err == nil && !found {
			err = warehouse.ErrNoTable
		}
		if err != nil {
			return def, fmt.Errorf("read the definition of %s: %w", t.name, err)
		}
		t.def, t.imaged, t.asOf = def, false, head.Epoch
	}
	if !t.imaged {
		if err := w.keepImages(ctx, t); err != nil {
			return t.def, err
		}
	}
	return t.def, nil
}

// Core returns a core table as it is: its columns in their order, or ErrNoTable.
// It knows no descriptions and no event times. It is read each time: another
// process may load the table, and tells nobody here what it changes.
func (w *Warehouse) Core(ctx context.Context, name string) (warehouse.CoreTable, error) {
	out := warehouse.CoreTable{Name: name}
	n, err := w.dialect.ParseName(name)
	if err != nil {
		return out, err
	}
	def, _, found, err := w.readColumns(ctx, n)
	if err == nil && !found {
		err = warehouse.ErrNoTable
	}
	if err != nil {
		return out, fmt.Errorf("read the definition of %s: %w", n, passing(err))
	}
	out.Mode, out.Key = def.Mode, def.Key
	for _, c := range def.Columns {
		out.Columns = append(out.Columns, schemas.Column{Name: c.Name, Type: c.Type, Unsettable: c.Unsettable})
	}
	return out, nil
}

// metadata describes a table, if it is there. It costs nothing and is no job.
func (w *Warehouse) metadata(ctx context.Context, dataset, name string) (md *api.Table, found bool, err error) {
	pause := w.pauses()
	defer pause.end()
	for {
		err = w.call(ctx, func(ctx context.Context) (err error) {
			md, err = w.jobs.Tables.Get(w.opts.Project, dataset, name).Context(ctx).Do()
			return err
		})
		switch {
		case err == nil:
			return md, true, nil
		case isMissing(err):
			return nil, false, nil
		case classOf(err) == fatal:
			return nil, false, cure(fmt.Errorf("describe %s.%s: %w", dataset, name, err))
		}
		w.opts.Logger.Warn("table described again", "table", dataset+"."+name, "err", err)
		if waitErr := pause.wait(ctx, classOf(err)); waitErr != nil {
			return nil, false, fmt.Errorf("describe %s.%s: %w", dataset, name, unanswered(waitErr, err))
		}
	}
}

// columnsOf lists a table's columns in order; none if it does not exist.
func (w *Warehouse) columnsOf(ctx context.Context, dataset, name string) (names, types []string, err error) {
	md, found, err := w.metadata(ctx, dataset, name)
	if err != nil || !found {
		return nil, nil, err
	}
	names, types = fieldsOf(md)
	return names, types, nil
}

func fieldsOf(md *api.Table) (names, types []string) {
	if md == nil || md.Schema == nil {
		return nil, nil
	}
	for _, f := range md.Schema.Fields {
		names, types = append(names, f.Name), append(types, typeName(f))
	}
	return names, types
}

// typeName is a field's type as SQL writes it: the API has older names.
func typeName(f *api.TableFieldSchema) string {
	if f.Mode == "REPEATED" {
		element := *f
		element.Mode = ""
		return "ARRAY<" + typeName(&element) + ">"
	}
	switch {
	case f.Type == "RECORD" || f.Type == "STRUCT":
		fields := make([]string, len(f.Fields))
		for i, inner := range f.Fields {
			fields[i] = sqlgen.BigQuery().Ident(inner.Name) + " " + typeName(inner)
		}
		return "STRUCT<" + strings.Join(fields, ", ") + ">"
	case f.Precision > 0:
		return fmt.Sprintf("%s(%d, %d)", f.Type, f.Precision, f.Scale)
	}
	switch f.Type {
	case "INTEGER":
		return "INT64"
	case "FLOAT":
		return "FLOAT64"
	case "BOOLEAN":
		return "BOOL"
	}
	return f.Type
}

// readTable reads the table's definition and its head, if it is there.
func (w *Warehouse) readTable(ctx context.Context, n sqlgen.Name) (def coretable.Definition, head coretable.Head, found bool, err error) {
	if def, head, found, err = w.readColumns(ctx, n); err != nil || !found {
		return def, head, found, err
	}
	if def.Needs, err = w.readNeeds(ctx, n); err != nil {
		return def, head, false, err
	}
	def.Images, _, err = w.columnsOf(ctx, sqlgen.Schema, n.Own("changes"))
	return def, head, true, err
}

// readColumns reads the table's head and what of its definition readers see.
func (w *Warehouse) readColumns(ctx context.Context, n sqlgen.Name) (def coretable.Definition, head coretable.Head, found bool, err error) {
	made, _, err := w.columnsOf(ctx, sqlgen.Schema, n.Own("head"))
	if err != nil || len(made) == 0 || slices.Contains(made, "ready") { // a derived table has another head
		return def, head, false, err
	}
	if head, err = w.readHead(ctx, n); err != nil {
		return def, head, false, err
	}
	n.Generation = head.Generation
	names, types, err := w.columnsOf(ctx, n.BaseDataset(), n.BaseTable())
	switch {
	case err != nil:
		return def, head, false, err
	case len(names) == 0 && head.Load > 0:
		return def, head, false, gone(n.BaseDataset(), n.BaseTable(), fmt.Sprintf("and its head is at load %d", head.Load))
	case len(names) == 0: // its making was cut short
		return def, head, false, nil
	case head.Name != n.String():
		return def, head, false, fmt.Errorf("the warehouse does not tell its name from that of %s", head.Name)
	}
	def.Mode, def.Unsettable, def.Generation, def.Key = head.Mode, head.Unsettable, head.Generation, head.Key
	for i, name := range names {
		if sqlgen.IsReserved(name) {
			continue
		}
		t, ok := w.dialect.ParseType(types[i])
		if !ok {
			return def, head, false, &warehouse.ChangedError{Problem: fmt.Sprintf("column %q of %s has type %s, which no load writes", name, n, types[i]), Cure: hintColumn}
		}
		def.Columns = append(def.Columns, sqlgen.Column{
			Name: name, Type: t, Key: slices.Contains(head.Key, name), Unsettable: slices.Contains(head.Unsettable, name),
		})
	}
	for _, key := range head.Key {
		if coretable.ColumnIndex(def.Columns, key) < 0 {
			return def, head, false, &warehouse.ChangedError{Problem: fmt.Sprintf("key column %q of %s is gone", key, n), Cure: hintColumn}
		}
	}
	return def, head, true, nil
}

func (w *Warehouse) readNeeds(ctx context.Context, n sqlgen.Name) (needs []coretable.Need, err error) {
	rows, err := w.query(ctx, n, w.dialect.ReadNeeds(n))
	if err != nil {
		return nil, fmt.Errorf("read the needs of %s: %w", n, err)
	}
	for _, r := range rows {
		needs = append(needs, coretable.Need{Spec: str(r[0]), Kind: str(r[1]), Column: str(r[2])})
	}
	return needs, nil
}

// query runs a statement that reads.
func (w *Warehouse) query(ctx context.Context, n sqlgen.Name, text string) ([][]any, error) {
	res, err := w.run(ctx, task{
		what: "read", table: n.String(), id: w.jobID("read", randomID()), text: func(string) string { return text },
	})
	return res.rows, err
}

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
