package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/internal/page"
)

// pause is how long a history that differs gets before it is looked at again.
const pause = 2 * time.Second

// CheckHistory compares a history with its topics. One that differs is looked
// at again as long as it goes on, and once more when it stands still: what the
// topics hold may not be loaded yet. What it waits for is told to tell.
func (t Topics) CheckHistory(ctx context.Context, p Platform, into *Replica, topic, table string, tell Tell) (Report, error) {
	waits := newWaits(tell)
	deadline := time.Now().Add(of(p).Patience)
	for before := int64(-1); ; {
		if err := t.History(ctx, into, topic, table); err != nil {
			return Report{}, err
		}
		report, err := CompareHistory(ctx, p, into, table)
		if err != nil || len(report.Differences) == 0 {
			return report, err
		}
		status, err := p.Status(ctx)
		if err != nil {
			return Report{}, err
		}
		i := slices.IndexFunc(status.Core, func(c page.Core) bool { return c.Table == table })
		if i < 0 {
			return Report{}, fmt.Errorf("%s is not among the core tables", table)
		}
		load := status.Core[i].Load
		switch {
		case load == before:
			return report, nil
		case time.Now().After(deadline):
			return Report{}, fmt.Errorf("verify %s: %w", table, ErrBusy)
		}
		before = load
		waits.say("%s waits until the table holds what its topics hold: load %d is in it", table, load)
		select {
		case <-ctx.Done():
			return Report{}, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// CompareHistory compares a history with what History made of its topic.
func CompareHistory(ctx context.Context, p Platform, into *Replica, table string) (Report, error) {
	want, err := into.Query(ctx, "SELECT * FROM "+quoted(table))
	if err != nil {
		return Report{}, err
	}
	on := of(p)
	got, err := on.rows(ctx, table)
	if err != nil {
		return Report{}, fmt.Errorf("read %s: %w", table, err)
	}
	alike(got)
	return on.compare(table, without(want, loadColumn), without(got, loadColumn), []string{posColumn, opColumn}), nil
}

// alike has a history's rows name the columns that were left out as History does.
func alike(history *page.Table) {
	op, unset := slices.Index(history.Columns, opColumn), slices.Index(history.Columns, unsetColumn)
	for _, row := range history.Rows {
		switch {
		case row[op] != nil && *row[op] == "d":
			row[unset] = nil
		case row[unset] != nil && *row[unset] != "":
			names := strings.SplitAfter(strings.Trim(*row[unset], ",")+",", ",")
			slices.Sort(names)
			text := "," + strings.Join(names, "")
			row[unset] = &text
		}
	}
}
