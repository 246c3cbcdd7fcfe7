package bigquery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Many columns that widen at once are more changes of a definition than the
// service takes in ten seconds. None is refused.
func TestDefinitionsAreSpaced(t *testing.T) {
	p := newProjectWith(t, bigqueryfake.Options{TableUpdates: 5})
	p.w.opts.Attempts = 1
	var waited time.Duration
	p.w.updates.now = p.fake.Now
	p.w.updates.sleep = func(_ context.Context, d time.Duration) error {
		waited += d
		p.fake.Skew(waited)
		return nil
	}
	table := warehouse.CoreTable{Name: "core.wide", Mode: schemas.ModeMerge, Key: []string{"id"}, Columns: []schemas.Column{{Name: "id", Type: kindOf(schemas.Int)}}}
	for i := range 11 {
		table.Columns = append(table.Columns, schemas.Column{Name: fmt.Sprintf("c%d", i), Type: decimal(10, 2)})
	}
	if err := p.w.Ensure(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(table.Columns); i++ {
		table.Columns[i].Type = decimal(20, 2)
	}
	if err := p.w.Ensure(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	if waited < 15*time.Second || waited > 40*time.Second {
		t.Errorf("it took %s", waited)
	}
	got, err := p.w.Core(t.Context(), table.Name)
	if err != nil || got.Columns[11].Type != decimal(20, 2) || got.Columns[1].Type != decimal(20, 2) {
		t.Errorf("%+v %v", got.Columns, err)
	}
}

func TestScriptsOfDefinitions(t *testing.T) {
	u := newUpdates()
	guard, alter, view := "ASSERT TRUE AS 'x'", "ALTER TABLE `a`.`b c` ALTER COLUMN `d` SET DATA TYPE NUMERIC", "CREATE OR REPLACE VIEW `a`.`v`\nAS SELECT 1"
	got := u.chunks(append([]string{guard}, append(slices.Repeat([]string{alter}, 9), view)...))
	want := [][]string{append([]string{guard}, slices.Repeat([]string{alter}, 4)...), append([]string{guard}, slices.Repeat([]string{alter}, 4)...), {guard, alter, view}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := u.chunks([]string{"CREATE TABLE x (a INT64)"}); len(got) != 1 || len(got[0]) != 1 {
		t.Errorf("%q", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := u.wait(ctx, []string{alter, alter, alter, alter}); err != nil {
		t.Error(err)
	}
	if err := u.wait(ctx, []string{alter}); err == nil {
		t.Error("the fifth change did not wait")
	}
	if err := u.wait(ctx, []string{view}); err != nil {
		t.Errorf("another table waits: %v", err)
	}
}

// A table whose loads would be too long a text is refused before anything of it is
// made; comments that are too long are left out.
func TestVeryWideTable(t *testing.T) {
	slow(t)
	wide := func(n int, remark string) warehouse.CoreTable {
		table := warehouse.CoreTable{Name: "core.wide", Mode: schemas.ModeMerge, Key: []string{"column_0"}}
		for i := range n {
			table.Columns = append(table.Columns, schemas.Column{Name: fmt.Sprintf("column_%d", i), Type: kindOf(schemas.String), Unsettable: i > 0 && remark == "", Description: remark})
		}
		return table
	}
	p := newProject(t)
	err := p.w.Ensure(t.Context(), wide(4000, ""))
	if !matches(err, "ensure core.wide: a load of 4000 columns: the statement has "+strings.TrimPrefix(runbook(t)["The statement is too long"], "… the statement has ")) {
		t.Errorf("got %v", err)
	}
	if calls := p.fake.Calls()["jobs.insert"]; calls != 0 {
		t.Errorf("%d jobs were made", calls)
	}
	if err := p.w.Ensure(t.Context(), wide(1000, strings.Repeat("x", 1024))); err != nil {
		t.Fatal(err)
	}
	if _, err := p.w.run(t.Context(), task{what: "read", id: "x", text: func(string) string { return "SELECT 1 --" + strings.Repeat("x", maxStatement) }}); !isTooLong(err) || !strings.Contains(err.Error(), hintLength) {
		t.Errorf("got %v", err)
	}
}

// The service's clock is days away from this machine's: what is staged does not
// expire before it is read, and a person is told.
func TestClockSkew(t *testing.T) {
	for _, skew := range []time.Duration{-72 * time.Hour, 72 * time.Hour} {
		p := newProject(t)
		p.fake.Skew(skew)
		c := newConsumer(t, p)
		for range 2 {
			if err := c.load(t, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		c.check(t, 2)
		if d := time.Until(p.w.clock.now()); (d - skew).Abs() > time.Minute {
			t.Errorf("the clock is taken to be %s ahead, and is %s", d, skew)
		}
		staged := p.read(t, sqlgen.Name{Dataset: "core", Table: "all"}, "SELECT COUNT(*) AS n FROM millrace."+stagingOf(c))
		if number(staged[0][0]) != 2*perLoad {
			t.Errorf("%v rows are staged", staged)
		}
	}
}

func stagingOf(c *consumer) string {
	core, _ := fixture(c.table.Mode)
	return core.Staging()
}
