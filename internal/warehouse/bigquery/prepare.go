package bigquery

import (
	"context"
	"fmt"
	"slices"

	"millrace/internal/warehouse/sqlgen"
)

// Prepare is described at warehouse.Warehouse.
func (w *Warehouse) Prepare(ctx context.Context, datasets []string) (made, there []string, err error) {
	for _, name := range slices.Concat(platformDatasets(), datasets) {
		found, err := w.hasDataset(ctx, name)
		if err != nil {
			return made, there, err
		}
		if found {
			there = append(there, name)
			continue
		}
		create := w.dialect.CreateDatasets(name)
		if name == sqlgen.Scratch {
			create = w.dialect.CreateScratch()
		}
		if err := w.ddl(ctx, sqlgen.Name{Dataset: name}, create); err != nil {
			return made, there, fmt.Errorf("make the dataset %s: %w", name, err)
		}
		made = append(made, name)
	}
	return made, there, nil
}

// platformDatasets are those that every platform has.
func platformDatasets() []string {
	core := sqlgen.Name{Dataset: "core"}
	return []string{sqlgen.Schema, core.Dataset, core.BaseDataset(), sqlgen.Scratch}
}

func (w *Warehouse) hasDataset(ctx context.Context, name string) (bool, error) {
	pause := w.pauses()
	defer pause.end()
	for {
		err := w.call(ctx, func(ctx context.Context) error {
			_, err := w.jobs.Datasets.Get(w.opts.Project, name).Context(ctx).Do()
			return err
		})
		switch {
		case err == nil:
			return true, nil
		case isMissing(err):
			return false, nil
		case classOf(err) == fatal:
			return false, cure(fmt.Errorf("describe the dataset %s: %w", name, err))
		}
		w.opts.Logger.Warn("dataset described again", "dataset", name, "err", err)
		if waitErr := pause.wait(ctx, classOf(err)); waitErr != nil {
			return false, fmt.Errorf("describe the dataset %s: %w", name, unanswered(waitErr, err))
		}
	}
}
