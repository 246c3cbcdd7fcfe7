package sqlgen

import (
	"fmt"

	"millrace/schemas"
)

// Limits of BigQuery's tables that take changes by key.
const (
	MaxUpsertKey     = maxKey
	MaxUpsertColumns = 2000 - 3 // without ColPos, ColLoad and ColLoadedAt
)

// KeysUpserts reports whether a column of the type can be in the key of a table
// in ModeUpsert.
func KeysUpserts(t schemas.Type) bool { return clusters(t.Kind) }

// UpsertScript is one load of a table in ModeUpsert. Its rows are in the table by
// then: what is left is progress, and the event.
type UpsertScript struct {
	Head        []string // the literals of Advance, in its order
	Load        int64
	CommittedUs int64
	Event       string
}

// Upsert is the load as a script. It writes no row of the table: BigQuery refuses
// that where changes come by key.
func (c *Core) Upsert(l UpsertScript) string {
	return script(
		"BEGIN TRANSACTION",
		Bind(c.Advance(c.Name), l.Head...),
		"ASSERT @@row_count = 1 AS "+c.Text(ReasonFenced), // G5, of the head
		Bind(c.LogLoad(c.Name), fmt.Sprint(l.Load), c.instant(l.CommittedUs), c.Text(l.Event)),
		"COMMIT TRANSACTION",
	)
}

// ReadLoadsBefore reads the events of the loads below a number that were
// committed before an instant, the newest first.
func (d *Dialect) ReadLoadsBefore(n Name, below, us int64, limit int) string {
	return fmt.Sprintf("SELECT %s FROM %s WHERE load < %d AND committed_at < %s ORDER BY load DESC LIMIT %d", d.jsonText("event"), d.Loads(n), below, d.instant(us), limit)
}
