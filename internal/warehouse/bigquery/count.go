package bigquery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	api "google.golang.org/api/bigquery/v2"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

// counted is what is known of a table's number of rows.
type counted struct {
	rows int64
	at   time.Time // zero: rows is not known
	// markers is how many of the table's rows are delete markers, as of when its
	// definition and rows were last changed.
	markers   int64
	of        uint64 // the table's time of change; zero: not known
	countedAt time.Time
	running   chan struct{} // closed when the count that runs has ended
}

const (
	// countAgain is how long a count is believed: it is for people to look at.
	countAgain = 15 * time.Second
	// markersAgain is how long delete markers are not counted anew: that is a job.
	// Until then those that have come since are taken for rows.
	markersAgain = 10 * time.Minute
	// countPatience is how long someone waits who asks for the first time.
	countPatience = 300 * time.Millisecond
)

var errCounting = errors.New("its rows are being counted")

// Count is described at warehouse.Warehouse. It takes the service's own count of
// the table's rows, which costs nothing, without the delete markers of a copy,
// which one small job counts every ten minutes while somebody asks.
func (w *Warehouse) Count(ctx context.Context, table string) (int64, error) {
	n, err := w.dialect.ParseName(table)
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	c := w.counts[table]
	if c == nil {
		c = &counted{}
		w.counts[table] = c
	}
	rows, fresh := c.rows, !c.at.IsZero() && time.Since(c.at) < countAgain
	w.mu.Unlock()
	if fresh {
		return rows, nil
	}
	md, found, err := w.metadata(ctx, n.Dataset, n.Table)
	if err == nil && found && md.View != nil {
		n.Generation, _ = strconv.Atoi(md.Labels[sqlgen.LabelGeneration])
		md, found, err = w.metadata(ctx, n.BaseDataset(), n.BaseTable())
	}
	if err == nil && !found {
		err = warehouse.ErrNoTable
	}
	if err == nil {
		rows, err = w.countLive(ctx, n, c, md)
	}
	if err != nil {
		return 0, fmt.Errorf("count rows of %s: %w", table, err)
	}
	return rows, nil
}

// countLive takes the markers away from the rows.
func (w *Warehouse) countLive(ctx context.Context, n sqlgen.Name, c *counted, md *api.Table) (int64, error) {
	names, _ := fieldsOf(md)
	marked := n.Generation > 0 && slices.Contains(names, sqlgen.ColDeleted)
	w.mu.Lock()
	if marked && c.running == nil && c.of != md.LastModifiedTime && time.Since(c.countedAt) > markersAgain && w.life.Err() == nil {
		c.running = make(chan struct{})
		w.counting.Go(func() { w.countMarkers(n, c, md.LastModifiedTime) })
	}
	running, known := c.running, c.of != 0 || !marked
	w.mu.Unlock()
	if !known && running != nil {
		timer := time.NewTimer(countPatience)
		defer timer.Stop()
		select {
		case <-running:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if marked && c.of == 0 {
		return 0, errCounting
	}
	c.rows, c.at = max(0, int64(md.NumRows)-c.markers), time.Now() //nolint:gosec // a count
	return c.rows, nil
}

func (w *Warehouse) countMarkers(n sqlgen.Name, c *counted, of uint64) {
	res, err := w.run(w.life, task{
		what: "count", table: n.String(), id: w.jobID("count", randomID()), attempts: 1,
		text: func(string) string {
			return "SELECT COUNTIF(" + sqlgen.ColDeleted + ") AS markers FROM " + w.dialect.Base(n)
		},
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	close(c.running)
	c.running = nil
	if err != nil || len(res.rows) != 1 {
		if w.life.Err() == nil {
			w.opts.Logger.Warn("delete markers not counted", "table", n.String(), "err", err)
		}
		c.countedAt = time.Now().Add(time.Minute - markersAgain) // again in a minute
		return
	}
	c.markers, c.of, c.countedAt = number(res.rows[0][0]), max(1, of), time.Now()
}
