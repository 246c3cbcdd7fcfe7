package bigquery

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Inputs is described at warehouse.Runner. It is one job, however many tables
// there are: each costs what its least statement costs.
func (r *Runner) Inputs(ctx context.Context, tables []string) (map[string]warehouse.InputState, error) {
	names := make([]sqlgen.Name, len(tables))
	kinds := map[int]bool{}
	for i, table := range tables {
		var err error
		if names[i], err = r.dialect.ParseName(table); err != nil {
			return nil, err
		}
		derived, there, err := r.isDerived(ctx, names[i])
		if err != nil {
			return nil, fmt.Errorf("describe the head of %s: %w", table, err)
		}
		if there {
			kinds[i] = derived
		}
	}
	out := make(map[string]warehouse.InputState)
	if len(kinds) == 0 {
		return out, nil
	}
	text := r.dialect.ReadInputs(names, func(i int) (derived, there bool) { derived, there = kinds[i]; return derived, there })
	rows, err := r.query(ctx, sqlgen.Name{Dataset: sqlgen.Schema, Table: "inputs"}, text)
	if err != nil {
		return nil, fmt.Errorf("read the heads of %s: %w", strings.Join(tables, ", "), err)
	}
	for _, row := range rows {
		s := warehouse.InputState{Load: number(row[1]), Complete: instant(row[2]), Swept: number(row[4])}
		s.Ready, _ = row[3].(bool)
		out[tables[number(row[0])]] = s
	}
	return out, nil
}

// isDerived says what kind of table it is, if it is there: that does not change.
func (r *Runner) isDerived(ctx context.Context, n sqlgen.Name) (derived, there bool, err error) {
	r.mu.Lock()
	derived, there = r.derived[n.String()]
	r.mu.Unlock()
	if there {
		return derived, true, nil
	}
	columns, _, err := r.columnsOf(ctx, sqlgen.Schema, n.Own("head"))
	if err != nil || len(columns) == 0 {
		return false, false, err
	}
	derived = slices.Contains(columns, "ready")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.derived[n.String()] = derived
	return derived, true, nil
}

// Touched is described at warehouse.Runner.
func (r *Runner) Touched(ctx context.Context, query string) (t schemas.Touched, err error) {
	what := task{what: "touched", text: func(string) string { return query }}
	names, types, err := r.columnsOfQuery(ctx, what)
	if isStatus(err, http.StatusBadRequest) || isStatus(err, http.StatusNotFound) {
		return t, &warehouse.QueryError{Offset: -1, Message: err.Error()}
	}
	if err != nil {
		return t, fmt.Errorf("describe the query: %w", err)
	}
	var kind schemas.Kind
	if len(types) == 1 {
		held, _ := r.dialect.ParseType(types[0])
		kind = held.Kind
	}
	if len(names) != 1 || !kind.IsEventTime() {
		return t, &warehouse.QueryError{Offset: -1, Message: "the query does not give one DATE, TIMESTAMP or DATETIME column"}
	}
	what.id, what.text = r.jobID("touched", randomID()), func(string) string { return r.dialect.QueryBuckets(query, names[0], kind) }
	res, err := r.run(ctx, what)
	if err != nil {
		return t, fmt.Errorf("read event times: %w", err)
	}
	var buckets []int64
	null := false
	for _, row := range res.rows {
		if row[0] == nil {
			null = true
		} else {
			buckets = append(buckets, number(row[0]))
		}
	}
	t, all := warehouse.Touch(names[0], kind, buckets, null)
	if all { // one range, from the first to the last
		first, _ := warehouse.Touch("", kind, buckets[:1], false)
		last, _ := warehouse.Touch("", kind, buckets[len(buckets)-1:], false)
		t.Ranges = [][2]string{{first.Ranges[0][0], last.Ranges[0][1]}}
	}
	return t, nil
}

// silent is how long a spec may say nothing before its needs no longer count.
const silent = 30 * 24 * time.Hour

// Sweep is described at warehouse.Runner. A spec that needs changes and has no
// head yet keeps all of them. Who writes the table at the same time goes first.
func (r *Runner) Sweep(ctx context.Context, table string) error {
	n, err := r.dialect.ParseName(table)
	if err != nil {
		return err
	}
	_, some, err := r.metadata(ctx, sqlgen.Schema, n.Own("changes"))
	if err == nil && some {
		err = r.sweep(ctx, n)
	}
	if err != nil && classOf(err) != conflict {
		return fmt.Errorf("sweep the changes of %s: %w", table, err)
	}
	return nil
}

func (r *Runner) sweep(ctx context.Context, n sqlgen.Name) error {
	specs, err := r.query(ctx, n, r.dialect.LiveNeeds(n, time.Now().Add(-silent).UnixMicro()))
	if err != nil || len(specs) == 0 {
		return err
	}
	least := int64(math.MaxInt64)
	for _, spec := range specs {
		reader, err := r.dialect.ParseName(str(spec[0]))
		if err != nil {
			return err
		}
		if _, there, err := r.isDerived(ctx, reader); err != nil || !there {
			return err
		}
		rows, err := r.query(ctx, reader, r.dialect.ReadDerivedHead(reader))
		if err != nil {
			return err
		}
		h, err := derivedHeadOf(reader, rows)
		if err != nil {
			return err
		}
		least = min(least, h.Absorbed[n.String()])
	}
	// A reader that is behind what is gone has yet to find that out.
	derived, _, err := r.isDerived(ctx, n)
	if err != nil {
		return err
	}
	rows, err := r.query(ctx, n, r.dialect.ReadInput(n, derived))
	if err != nil || least == 0 || len(rows) != 1 || least <= number(rows[0][3]) {
		return err
	}
	_, err = r.run(ctx, task{
		what: "sweep", table: n.String(), id: r.jobID("sweep", n, randomID()), attempts: 1,
		text: func(string) string {
			return sqlgen.Script(slices.Concat([]string{"BEGIN TRANSACTION"}, r.dialect.SweepChanges(n, least), []string{"COMMIT TRANSACTION"})...)
		},
	})
	return err
}
