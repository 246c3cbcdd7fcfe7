package bigquery

import (
	"strings"
	"testing"
	"time"

	"millrace/internal/warehouse/sqlgen"
)

// What was changed by hand is told, and nothing is lost: the load did not
// happen, and happens once the table is as it was.
func TestTableChangedByHand(t *testing.T) {
	for name, c := range map[string]struct {
		change string
		say    []string // one of them
	}{
		"head row deleted": {
			"DELETE FROM millrace.core__all__head WHERE TRUE", []string{"the row was deleted or written by hand", "not this writer's", "taken the table over"},
		},
		"table dropped":    {"DROP TABLE core__base.`all`", []string{"not in the warehouse", "Not found"}},
		"key dropped":      {"ALTER TABLE core__base.`all` DROP COLUMN id", []string{`key column "id" is gone`}},
		"another type":     {"ALTER TABLE core__base.`all` DROP COLUMN note; ALTER TABLE core__base.`all` ADD COLUMN note NUMERIC", []string{`column "note" has type NUMERIC`}},
		"stage dropped":    {"", nil},
		"column added too": {"ALTER TABLE core__base.`all` ADD COLUMN mine STRING", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			c2 := newConsumer(t, p)
			if err := c2.load(t, time.Minute); err != nil {
				t.Fatal(err)
			}
			n := sqlgen.Name{Dataset: "core", Table: "all"}
			if name == "stage dropped" {
				core, _ := fixture(c2.table.Mode)
				c.change = "DROP TABLE " + p.w.dialect.Qualified(sqlgen.Schema, core.Staging())
			}
			if err := p.w.ddl(t.Context(), n, c.change); err != nil {
				t.Fatal(err)
			}
			p.crash(t) // a process that begins sees it at once
			_, err := p.w.Acquire(t.Context(), c2.table.Name, "topic", "id")
			if c.say == nil {
				if err == nil {
					err = p.w.Ensure(t.Context(), c2.table)
				}
				if err != nil {
					t.Fatal(err)
				}
				c2.acquire(t)
				for c2.head.Load < 2 {
					if err := c2.load(t, time.Minute); err != nil {
						t.Fatal(err)
					}
				}
				c2.check(t, 2)
				return
			}
			for _, say := range c.say {
				if err != nil && strings.Contains(err.Error(), say) {
					return
				}
			}
			t.Errorf("got %v, want one of %q", err, c.say)
		})
	}
}
