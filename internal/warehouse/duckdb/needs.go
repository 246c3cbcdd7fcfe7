package duckdb

import (
	"context"
	"database/sql"
	"slices"
	"sync"

	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
)

// takenNeeds is what the runs of a derived table keep for those that read it. The
// table of images has been made to fit.
type takenNeeds struct {
	eventTimes []string
	images     bool
	changed    []string // columns beside the key of which images are kept
}

// neededOf remembers, by derived table, what its runs have taken up. The file has
// one writing process: nobody else changes a table of needs.
type neededOf struct {
	mu      sync.Mutex
	taken   map[sqlgen.Name]takenNeeds
	changes int // what was read before one is not remembered after it
}

func (m *neededOf) get(n sqlgen.Name) (t takenNeeds, known bool, changes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, known = m.taken[n]
	return t, known, m.changes
}

func (m *neededOf) put(n sqlgen.Name, t takenNeeds, changes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changes == changes {
		m.taken[n] = t
	}
}

// forget is called behind whatever changes the needs of a table, or that with
// which they are taken up, and before it is told that this is done.
func (m *neededOf) forget(n sqlgen.Name) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.taken, n)
	m.changes++
}

// taken is what a run of the table keeps.
func (w *Warehouse) taken(ctx context.Context, conn *sql.Conn, d *sqlgen.Derived) (takenNeeds, error) {
	t, known, changes := w.needs.get(d.Name)
	if known {
		return t, nil
	}
	t, err := w.takeUp(ctx, conn, d)
	if err == nil {
		w.needs.put(d.Name, t, changes)
	}
	return t, err
}

// takeUp reads the needs, and gives the table of images the columns that they ask
// for.
func (w *Warehouse) takeUp(ctx context.Context, conn *sql.Conn, d *sqlgen.Derived) (t takenNeeds, err error) {
	err = each(ctx, conn, "SELECT DISTINCT kind, column_name FROM "+d.Needs(d.Name)+" ORDER BY ALL", func(rows *sql.Rows) error {
		var kind, column string
		if err := rows.Scan(&kind, &column); err != nil {
			return err
		}
		switch {
		case !slices.Contains(d.Columns, column): // it is taken up when the column comes
		case kind == coretable.NeedEventTime:
			t.eventTimes = append(t.eventTimes, column)
		case kind == coretable.NeedChange:
			t.images = true
			if !slices.Contains(d.Key, column) {
				t.changed = append(t.changed, column)
			}
		}
		return nil
	})
	if err != nil || !t.images {
		return t, err
	}
	images := *d
	images.KeepImages, images.Changed = true, t.changed
	statements := []string{images.CreateRunChanges()}
	for _, c := range slices.Concat(d.Key, t.changed) {
		statements = append(statements, images.AddRunImage(c))
	}
	return t, execAll(ctx, conn, statements...)
}
