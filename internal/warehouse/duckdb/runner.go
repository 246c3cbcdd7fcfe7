package duckdb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// maxTurns is how many derived tables have their turn at the same time in a
// warehouse. Loads of core tables share their connections and must not wait
// behind long queries.
const maxTurns = 2

// Runner keeps the derived tables of a Warehouse.
type Runner struct {
	*Warehouse
	heads sync.Map // by table, the query of how far it is: what a table is does not change
}

var _ warehouse.Runner = (*Runner)(nil)

// Runner returns what keeps derived tables in w. It is closed with w.
func (w *Warehouse) Runner() warehouse.Runner { return &Runner{Warehouse: w} }

// derived is the table for the generator of SQL.
func (r *Runner) derived(t warehouse.DerivedTable) (*sqlgen.Derived, error) {
	n, err := r.dialect.ParseName(t.Name)
	if err != nil {
		return nil, err
	}
	d := &sqlgen.Derived{Dialect: r.dialect, Name: n, Key: t.Key, Owning: t.Owning, Window: t.Window, Append: t.Append}
	for _, c := range t.Columns {
		d.Columns, d.Types = append(d.Columns, c.Name), append(d.Types, c.SQLType)
	}
	return d, nil
}

// Acquire is described at warehouse.Runner. The table is changed only after the
// revision was found to be no earlier than the head's.
func (r *Runner) Acquire(ctx context.Context, t warehouse.DerivedTable, revision int64) (h warehouse.DerivedHead, err error) {
	d, err := r.derived(t)
	if err != nil {
		return h, err
	}
	conn, leave, err := r.writer(ctx)
	if err != nil {
		return h, fmt.Errorf("acquire %s: %w", t.Name, err)
	}
	defer leave()
	if err := r.beside(ctx, conn, d); err != nil {
		return h, fmt.Errorf("acquire %s: make its head: %w", t.Name, err)
	}
	if h, err = r.takeOverDerived(ctx, conn, d.Name, revision); err != nil {
		return h, fmt.Errorf("acquire %s: %w", t.Name, err)
	}
	defer r.needs.forget(d.Name)
	if h, err = r.shape(ctx, conn, d, h); err != nil {
		return h, fmt.Errorf("acquire %s: give it its columns: %w", t.Name, err)
	}
	return h, r.opts.Fault.At(ctx, PointRunAcquired)
}

// beside makes what stands beside the table.
func (r *Runner) beside(ctx context.Context, conn *sql.Conn, d *sqlgen.Derived) error {
	r.ddl.Lock()
	defer r.ddl.Unlock()
	n := d.Name
	return execAll(ctx, conn, r.dialect.CreateDerivedHead(n), r.dialect.InsertDerivedHead(n), r.dialect.CreateLoads(n), r.dialect.CreateNeeds(n), d.CreateDirty())
}

// shape makes the table, or gives it the columns that it is to have. The head is
// as it is then: of a table that was taken away by hand, everything has to be
// computed.
func (r *Runner) shape(ctx context.Context, conn *sql.Conn, d *sqlgen.Derived, h warehouse.DerivedHead) (warehouse.DerivedHead, error) {
	r.ddl.Lock()
	defer r.ddl.Unlock()
	have, _, err := columnsOf(ctx, conn, d.Name.Dataset, d.Name.Table)
	if err != nil {
		return h, err
	}
	switch {
	case len(have) > 0 || h.Absorbed == nil:
	case d.Append:
		// Those who add what it adds would add all of it again.
		return h, fmt.Errorf("the table %s is gone, and it is a log, which cannot be computed again: give its spec another name", d.Name)
	default:
		if err := execAll(ctx, conn, d.Restart(h.Epoch)...); err != nil {
			return h, err
		}
		h = warehouse.DerivedHead{Epoch: h.Epoch, Load: h.Load, Revision: h.Revision, Complete: h.Complete}
	}
	return r.giveColumns(ctx, conn, d, h)
}

// giveColumns changes what the code before has left only after the head has
// forgotten that code: it may come back before this one has computed anything (G7).
func (r *Runner) giveColumns(ctx context.Context, conn *sql.Conn, d *sqlgen.Derived, h warehouse.DerivedHead) (warehouse.DerivedHead, error) {
	if err := execAll(ctx, conn, "CREATE SCHEMA IF NOT EXISTS "+r.dialect.Ident(d.Name.Dataset), d.CreateTable()); err != nil {
		return h, err
	}
	alter, lossy, err := r.evolve(ctx, conn, d)
	if err != nil {
		return h, err
	}
	names, types, err := columnsOf(ctx, conn, sqlgen.Schema, d.Name.Own("changes"))
	if err != nil {
		return h, err
	}
	if !d.ImagesFit(names, types) {
		lossy = true
		alter = append(alter, d.RemakeImages(names, types)...)
	}
	dirt, err := r.redirt(ctx, conn, d)
	if err != nil {
		return h, err
	}
	if lossy = lossy || len(dirt) > 0; lossy && h.CodeHash != "" {
		alter = append([]string{d.ForgetCode(h.Epoch)}, alter...)
		h.CodeHash = ""
	}
	return h, execAll(ctx, conn, append(alter, dirt...)...)
}

// takeOverDerived raises the epoch. It waits for a run that is being committed.
func (r *Runner) takeOverDerived(ctx context.Context, conn *sql.Conn, n sqlgen.Name, revision int64) (h warehouse.DerivedHead, err error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err = tx(ctx, conn, func() error {
			if err := exactlyOne(conn.ExecContext(ctx, r.dialect.TakeOverDerived(n), revision)); errors.Is(err, errNotOne) {
				return warehouse.ErrRevision
			} else if err != nil {
				return fmt.Errorf("raise the epoch: %w", err)
			}
			h, err = readDerivedHead(ctx, conn, r.dialect, n)
			return err
		})
		if err == nil || !isConflict(err) {
			return h, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return h, errors.Join(context.Cause(ctx), err)
		}
	}
}

// evolve are the statements that give the table the columns that it is to have,
// and whether values go. A column of another
// type is made anew: its values come with the runs that the new code causes.
func (r *Runner) evolve(ctx context.Context, conn *sql.Conn, d *sqlgen.Derived) (alter []string, lossy bool, err error) {
	have, types, err := columnsOf(ctx, conn, d.Name.Dataset, d.Name.Table)
	if err != nil {
		return nil, false, err
	}
	var add, drop []string
	for i, name := range d.Columns {
		at := slices.Index(have, name)
		if at >= 0 && types[at] == d.Types[i] {
			continue
		}
		if at >= 0 {
			drop = append(drop, d.DropColumn(name))
		}
		add = append(add, d.AddColumn(name, d.Types[i]))
	}
	for _, name := range have {
		if !slices.Contains(d.Columns, name) && (!d.Append || name != sqlgen.ColLoad) {
			drop = append(drop, d.DropColumn(name))
		}
	}
	if d.Append && !slices.Contains(have, sqlgen.ColLoad) {
		add = append(add, d.AddColumn(sqlgen.ColLoad, "BIGINT"))
	}
	if len(drop) == len(have) && len(have) > 0 { // a table keeps at least one column
		return []string{"DROP TABLE " + r.dialect.View(d.Name), d.CreateTable()}, true, nil
	}
	return append(drop, add...), len(drop) > 0, nil
}

// redirt are the statements that make a dirty table anew which holds something
// else than it is to hold: the scope or the key has changed.
func (r *Runner) redirt(ctx context.Context, conn *sql.Conn, d *sqlgen.Derived) ([]string, error) {
	have, types, err := columnsOf(ctx, conn, sqlgen.Schema, d.Name.Own("dirty"))
	if err != nil || len(have) == 0 {
		return nil, err
	}
	want, wantTypes := []string{"window_start"}, []string{"TIMESTAMP"}
	if len(d.Owning) > 0 {
		want, wantTypes = d.Owning, nil
		for _, c := range d.Owning {
			wantTypes = append(wantTypes, d.Types[slices.Index(d.Columns, c)])
		}
	}
	n := slices.Index(have, "mark")
	if n >= 0 && slices.Equal(have[:n], want) && slices.Equal(types[:n], wantTypes) {
		return nil, nil
	}
	return []string{"DROP TABLE " + r.dialect.Dirty(d.Name), d.CreateDirty()}, nil
}

func readDerivedHead(ctx context.Context, conn *sql.Conn, d *sqlgen.Dialect, n sqlgen.Name) (h warehouse.DerivedHead, err error) {
	var absorbed string
	var begin, frontier, complete sql.NullTime
	err = conn.QueryRowContext(ctx, d.ReadDerivedHead(n)).Scan(&h.Epoch, &h.Load, &h.Revision, &h.CodeHash, &absorbed, &begin, &frontier, &complete, &h.Ready)
	if err != nil {
		return h, fmt.Errorf("read the head of %s: %w", n, err)
	}
	h.Begin, h.Frontier, h.Complete = utc(begin), utc(frontier), utc(complete)
	if err := json.Unmarshal([]byte(absorbed), &h.Absorbed); err != nil {
		return h, fmt.Errorf("decode the head of %s: %w", n, err)
	}
	return h, nil
}

func utc(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

// Turn is described at warehouse.Runner.
func (r *Runner) Turn(ctx context.Context) (leave func(), err error) {
	select {
	case r.turns <- struct{}{}: // those who wait are served in their order
		return func() { <-r.turns }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a turn: %w", context.Cause(ctx))
	}
}

// Dirt is described at warehouse.Runner.
func (r *Runner) Dirt(ctx context.Context, t warehouse.DerivedTable) (dirt []warehouse.Dirt, keys warehouse.KeyDirt, err error) {
	d, err := r.derived(t)
	if err != nil {
		return nil, keys, err
	}
	conn, leave, err := r.writer(ctx)
	if err != nil {
		return nil, keys, fmt.Errorf("read the dirt of %s: %w", t.Name, err)
	}
	defer leave()
	if len(d.Owning) > 0 {
		var due bool
		var retry, since sql.NullTime
		err = conn.QueryRowContext(ctx, d.SumDirty()).Scan(&keys.Keys, &keys.Mark, &due, &retry, &since, &keys.Error)
		if !due {
			keys.RetryAt = utc(retry)
		}
		keys.Since = utc(since)
	} else {
		err = each(ctx, conn, d.ReadDirty(), func(rows *sql.Rows) error {
			var w warehouse.Dirt
			var since, retry sql.NullTime
			var cause string
			if err := rows.Scan(&w.Window, &w.Mark, &w.Backfill, &since, &cause, &w.Error, &w.Failures, &retry); err != nil {
				return err
			}
			w.Window, w.Since, w.RetryAt = w.Window.UTC(), utc(since), utc(retry)
			dirt = append(dirt, w)
			return json.Unmarshal([]byte(cause), &dirt[len(dirt)-1].Cause)
		})
	}
	if err != nil {
		return nil, keys, fmt.Errorf("read the dirt of %s: %w", t.Name, err)
	}
	return dirt, keys, nil
}

// Inputs is described at warehouse.Runner.
func (r *Runner) Inputs(ctx context.Context, tables []string) (map[string]warehouse.InputState, error) {
	out := make(map[string]warehouse.InputState)
	for _, table := range tables {
		n, err := r.dialect.ParseName(table)
		if err != nil {
			return nil, err
		}
		state, there, err := r.input(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("read the head of %s: %w", table, err)
		}
		if there {
			out[table] = state
		}
	}
	return out, nil
}

func (r *Runner) input(ctx context.Context, n sqlgen.Name) (state warehouse.InputState, there bool, err error) {
	query, err := r.inputQuery(ctx, n)
	if err != nil || query == "" {
		return state, false, err
	}
	var complete sql.NullTime
	err = r.reads.QueryRowContext(ctx, query).Scan(&state.Load, &complete, &state.Ready, &state.Swept)
	if errors.Is(err, sql.ErrNoRows) {
		return state, false, nil
	}
	state.Complete = utc(complete)
	return state, err == nil, err
}

// inputQuery reads how far a table is, core or derived. It is empty if the
// table is not there yet.
func (r *Runner) inputQuery(ctx context.Context, n sqlgen.Name) (string, error) {
	if query, ok := r.heads.Load(n); ok {
		return query.(string), nil
	}
	columns, _, err := columnsOf(ctx, r.reads, sqlgen.Schema, n.Own("head"))
	if err != nil || len(columns) == 0 {
		return "", err
	}
	query := r.dialect.ReadInput(n, slices.Contains(columns, "ready"))
	r.heads.Store(n, query)
	return query, nil
}

// Touched is described at warehouse.Runner.
func (r *Runner) Touched(ctx context.Context, query string) (schemas.Touched, error) {
	columns, err := describe(ctx, r.reads, query)
	if err != nil {
		return schemas.Touched{}, err
	}
	if len(columns) != 1 || !columns[0].Type.Kind.IsEventTime() {
		return schemas.Touched{}, &warehouse.QueryError{Offset: -1, Message: "the query does not give one DATE, TIMESTAMP or DATETIME column"}
	}
	c := columns[0]
	rows, err := r.Query(ctx, r.dialect.QueryBuckets(query, c.Name, c.Type.Kind))
	if err != nil {
		return schemas.Touched{}, fmt.Errorf("read event times: %w", err)
	}
	buckets, null, err := scanBuckets(rows)
	if err != nil {
		return schemas.Touched{}, fmt.Errorf("read event times: %w", err)
	}
	touched, all := warehouse.Touch(c.Name, c.Type.Kind, buckets, null)
	if all {
		touched.Ranges = [][2]string{spanOf(c.Type.Kind, buckets)}
	}
	return touched, nil
}

// spanOf is the one range from the first to the last bucket.
func spanOf(kind schemas.Kind, buckets []int64) [2]string {
	first, _ := warehouse.Touch("", kind, buckets[:1], false)
	last, _ := warehouse.Touch("", kind, buckets[len(buckets)-1:], false)
	return [2]string{first.Ranges[0][0], last.Ranges[0][1]}
}

func scanBuckets(rows *sql.Rows) (buckets []int64, null bool, err error) {
	for rows.Next() {
		var b sql.NullInt64
		if err := rows.Scan(&b); err != nil {
			return nil, false, errors.Join(err, rows.Close())
		}
		if b.Valid {
			buckets = append(buckets, b.Int64)
		} else {
			null = true
		}
	}
	return buckets, null, errors.Join(rows.Err(), rows.Close())
}

// SetNeeds is described at warehouse.Loader. Runs of a derived table take the
// needs up from their next one on.
func (r *Runner) SetNeeds(ctx context.Context, table, spec string, k warehouse.Kept) error {
	n, err := r.dialect.ParseName(table)
	if err != nil {
		return err
	}
	conn, leave, err := r.writer(ctx)
	if err != nil {
		return fmt.Errorf("set the needs of %s in %s: %w", spec, table, err)
	}
	dirty, _, err := columnsOf(ctx, conn, sqlgen.Schema, n.Own("dirty"))
	if err != nil || len(dirty) == 0 {
		leave()
		if err != nil {
			return fmt.Errorf("set the needs of %s in %s: %w", spec, table, err)
		}
		return r.Warehouse.SetNeeds(ctx, table, spec, k)
	}
	defer leave()
	var rows []string
	for _, n := range coretable.Needs(spec, k) {
		rows = append(rows, fmt.Sprintf("(%s, %s, %s, now())", r.dialect.Text(n.Spec), r.dialect.Text(n.Kind), r.dialect.Text(n.Column)))
	}
	statements := []string{"DELETE FROM " + r.dialect.Needs(n) + " WHERE spec = " + r.dialect.Text(spec)}
	if len(rows) > 0 {
		statements = append(statements, "INSERT INTO "+r.dialect.Needs(n)+" VALUES "+strings.Join(rows, ", "))
	}
	defer r.needs.forget(n)
	err = tx(ctx, conn, func() error { return execAll(ctx, conn, statements...) })
	if err != nil {
		return fmt.Errorf("set the needs of %s in %s: %w", spec, table, err)
	}
	return nil
}
