package duckdb

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"millrace/internal/warehouse/sqlgen"
)

// silent is how long a spec may say nothing before its needs no longer count.
const silent = 30 * 24 * time.Hour

// Sweep is described at warehouse.Runner. A spec that needs changes and has no
// head yet keeps all of them.
func (r *Runner) Sweep(ctx context.Context, table string) error {
	n, err := r.dialect.ParseName(table)
	if err != nil {
		return err
	}
	conn, leave, err := r.writer(ctx)
	if err != nil {
		return fmt.Errorf("sweep the changes of %s: %w", table, err)
	}
	defer leave()
	images, _, err := columnsOf(ctx, conn, sqlgen.Schema, n.Own("changes"))
	if err == nil && len(images) > 0 {
		err = r.sweep(ctx, conn, n)
	}
	if err != nil && !isConflict(err) { // who writes the table goes first
		return fmt.Errorf("sweep the changes of %s: %w", table, err)
	}
	return nil
}

func (r *Runner) sweep(ctx context.Context, conn *sql.Conn, n sqlgen.Name) error {
	return tx(ctx, conn, func() error {
		least := int64(math.MaxInt64)
		var specs []string
		err := each(ctx, conn, r.dialect.LiveNeeds(n, time.Now().Add(-silent).UnixMicro()), func(rows *sql.Rows) error {
			var spec string
			err := rows.Scan(&spec)
			specs = append(specs, spec)
			return err
		})
		if err != nil {
			return fmt.Errorf("read the needs: %w", err)
		}
		for _, spec := range specs {
			reader, err := r.dialect.ParseName(spec)
			if err != nil {
				return err
			}
			head, _, err := columnsOf(ctx, conn, sqlgen.Schema, reader.Own("head"))
			if err != nil {
				return err
			}
			if len(head) == 0 {
				return nil
			}
			h, err := readDerivedHead(ctx, conn, r.dialect, reader)
			if err != nil {
				return err
			}
			least = min(least, h.Absorbed[n.String()])
		}
		if len(specs) == 0 || least == 0 {
			return nil
		}
		return execAll(ctx, conn, r.dialect.SweepChanges(n, least)...)
	})
}
