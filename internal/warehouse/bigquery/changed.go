package bigquery

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	api "google.golang.org/api/bigquery/v2"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
)

// What someone has changed by hand is told, and nothing is made in its place: an
// empty table under a head that counts its loads would lose all of them.

func gone(dataset, name, because string) error {
	return &warehouse.ChangedError{Problem: fmt.Sprintf("the table %s.%s is gone, %s", dataset, name, because), Cure: hintGone}
}

// checkNew refuses to make a table whose head is gone while its rows are there.
// Head and table are made in this order.
func (w *Warehouse) checkNew(ctx context.Context, n sqlgen.Name) error {
	_, rows, err := w.metadata(ctx, n.BaseDataset(), n.BaseTable())
	if err != nil {
		return err
	}
	_, shown, err := w.metadata(ctx, n.Dataset, n.Table)
	if err != nil || !rows && !shown {
		return err
	}
	// Another process may be making it just now.
	if _, head, err := w.metadata(ctx, sqlgen.Schema, n.Own("head")); err != nil || head {
		return err
	}
	return gone(sqlgen.Schema, n.Own("head"), fmt.Sprintf("though %s is there: nobody knows how far that is", n))
}

// checkShown refuses a table that lacks a column which its readers see: to add it
// again would make all its values null.
func checkShown(def coretable.Definition, n sqlgen.Name, view *api.Table) error {
	if view.Schema == nil || view.Labels[sqlgen.LabelGeneration] != strconv.Itoa(max(def.Generation, 1)) {
		return nil // it shows another generation
	}
	n.Generation = def.Generation
	for _, f := range view.Schema.Fields {
		if !sqlgen.IsReserved(f.Name) && !slices.ContainsFunc(def.Columns, func(c sqlgen.Column) bool { return c.Name == f.Name }) {
			return &warehouse.ChangedError{
				Problem: fmt.Sprintf("column %q of the table %s.%s is gone, and its readers see it", f.Name, n.BaseDataset(), n.BaseTable()), Cure: hintColumn,
			}
		}
	}
	return nil
}

// checkDerived refuses to take over a derived table whose head is gone: its numbers
// would begin anew. Without its rows it is computed again.
func (r *Runner) checkDerived(ctx context.Context, n sqlgen.Name) error {
	_, known, err := r.metadata(ctx, sqlgen.Schema, n.Own("head"))
	if err != nil || known {
		return err
	}
	if _, found, err := r.metadata(ctx, n.Dataset, n.Table); err != nil || !found {
		return err
	}
	return gone(sqlgen.Schema, n.Own("head"), fmt.Sprintf("though %s is there: nobody knows how far that is", n))
}
