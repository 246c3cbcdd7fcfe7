package bigquery

import (
	"context"
	"slices"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// remarks are the statements that write the source's comments onto the table of
// rows. What people have written where the source says nothing stays.
func (w *Warehouse) remarks(ctx context.Context, c *sqlgen.Core, want warehouse.CoreTable) (s []string, err error) {
	md, found, err := w.metadata(ctx, c.Name.BaseDataset(), c.Name.BaseTable())
	if err != nil || !found || md.Schema == nil {
		return nil, err
	}
	if want.Description != "" && want.Description != md.Description {
		s = append(s, c.Describe())
	}
	var columns []int
	for _, f := range md.Schema.Fields {
		at := slices.IndexFunc(want.Columns, func(col schemas.Column) bool { return col.Name == f.Name })
		if at < 0 {
			continue
		}
		if said := want.Columns[at].Description; said != "" && sqlgen.Remark(said) != f.Description {
			i := slices.IndexFunc(c.Columns, func(col sqlgen.Column) bool { return col.Name == f.Name })
			c.Columns[i].Description = said
			columns = append(columns, i)
		}
	}
	if len(columns) > 0 {
		s = append(s, c.Explain(columns))
	}
	return s, nil
}
