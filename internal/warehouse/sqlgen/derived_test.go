package sqlgen

import (
	"strings"
	"testing"
	"time"

	"millrace/schemas"
)

func TestDerivedSQL(t *testing.T) {
	d := DuckDB()
	n, err := d.ParseName("analytics.customers")
	if err != nil {
		t.Fatal(err)
	}
	table := &Derived{
		Dialect: d, Name: n, Columns: []string{"customer", "day", "odd \"name"}, Types: []string{"BIGINT", "DATE", "VARCHAR"},
		Key: []string{"customer", "day"}, Owning: []string{"customer"}, Changed: []string{"odd \"name"}, KeepImages: true,
	}
	var out []string
	add := func(statements ...string) { out = append(out, statements...) }
	add(table.CreateTable(), table.AddColumn("n", "BIGINT"), table.DropColumn("n"), table.CreateDirty(), d.CreateDerivedHead(n), d.InsertDerivedHead(n))
	add(d.ReadDerivedHead(n), d.TakeOverDerived(n), d.AdvanceDerived(n))
	add(table.CreateKeys())
	add(table.MarkKeys("SELECT c FROM x", 7)...)
	add(table.CaptureKeys()...)
	owned := table.OwnedByKeys()
	add(table.StagePart(0, "SELECT 1 -- no end"), table.StagePart(1, "SELECT 1 -- no end"), table.Examine(1, owned, []string{"day IS NULL"}), table.Examine(0, "", nil), table.Repeated(1, table.Key))
	add(table.Compare(0, "TRUE"), table.Compare(1, owned))
	add(table.Differences(1))
	add(table.Replace(1, owned)...)
	add(table.Merge(1)...)
	add(table.AppendRows(5)...)
	add(table.RunBuckets("day", schemas.Date), d.QueryBuckets("SELECT ts FROM x", "ts", schemas.Timestamp))
	add(table.CreateRunChanges(), table.AddRunImage("odd \"name"), table.KeepRunChanges(5))
	add(table.ClearKeys(), table.HoldKeys(), table.SumDirty())
	add(table.DropRun()...)
	windows := &Derived{Dialect: d, Name: n, Columns: []string{"day"}, Types: []string{"DATE"}, Append: true}
	day := time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)
	add(windows.CreateTable(), windows.CreateDirty(), windows.ReadDirty(), windows.ClearWindow(), windows.ForgetAll())
	add(windows.MarkWindows([]DirtyWindow{
		{Window: day, Since: day, Mark: 3, Cause: "[]", Error: "it's no", Failures: 2, RetryAt: day}, {Window: time.Time{}, Since: day, Mark: 4, Backfill: true, Cause: "[]"},
	})...)
	golden(t, "derived", strings.Join(out, ";\n\n")+";\n")
}
