package sqlgen

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func tables(t *testing.T) map[string]*Core {
	t.Helper()
	d := DuckDB()
	kind := func(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }
	name := func(s string) Name {
		n, err := d.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return map[string]*Core{
		// Nothing can be unset: no positions per column, no _unset.
		"merge_plain": {
			Dialect: d, Name: name("core.payments"), Mode: schemas.ModeMerge,
			Columns: []Column{
				{Name: "id", Type: kind(schemas.Int), Key: true, Staged: true},
				{Name: "amount", Type: schemas.Type{Kind: schemas.Decimal, Precision: 10, Scale: 2}, Staged: true},
				{Name: "paid_at", Type: kind(schemas.Timestamp), Staged: true},
			},
			EventTimes: []int{2},
		},
		// Two columns can be unset, one has an odd name, one is not in the batch,
		// images are kept, and a key is null.
		"merge_unset": {
			Dialect: d, Name: name(`core.Odd "x"`), Mode: schemas.ModeMerge,
			Columns: []Column{
				{Name: "tenant", Type: kind(schemas.String), Key: true, Staged: true},
				{Name: "select", Type: kind(schemas.Int), Key: true, Staged: true},
				{Name: "it's, big", Type: kind(schemas.String), Unsettable: true, Staged: true},
				{Name: "doc", Type: kind(schemas.JSON), Unsettable: true},
				{Name: "day", Type: kind(schemas.Date), Staged: true},
			},
			EventTimes: []int{4}, Changed: []int{2}, KeepImages: true, NullKeys: true,
		},
		"append": {
			Dialect: d, Name: name("core.payments_history"), Mode: schemas.ModeAppend,
			Columns: []Column{
				{Name: "id", Type: kind(schemas.Int), Key: true, Staged: true},
				{Name: "note", Type: kind(schemas.String), Unsettable: true, Staged: true},
				{Name: "at", Type: kind(schemas.DateTime), Staged: true},
			},
			EventTimes: []int{2},
		},
		"append_without_key": {
			Dialect: d, Name: name("core.events"), Mode: schemas.ModeAppend,
			Columns: []Column{{Name: "line", Type: kind(schemas.String), Staged: true}},
		},
	}
}

func statements(c *Core) string {
	h := schemas.Position{Epoch: 1, Major: 0x2a}
	write := c.Merge
	if c.Mode == schemas.ModeAppend {
		write = c.Append
	}
	list := []string{
		"-- the table", c.CreateBase(), c.CreateView(), c.AddColumn(0), c.AlterType(c.Base(c.Name), 0), c.CreateChanges(),
		"-- a load: before the transaction", c.CreateStage(), c.FillStage("f"), c.CreateEffect(),
		"-- a load: the transaction", c.DuplicateKey(), c.Removed(h), c.Remove(h), c.Write(h), c.Counts(), write(h, 7, 1_700_000_000_000_000),
	}
	if c.KeepImages {
		list = append(list, c.KeepChanges(7), c.AddImageColumn(2))
	}
	for _, i := range c.EventTimes {
		list = append(list, c.Buckets(i))
	}
	list = append(list, "-- after it")
	return terminated(append(list, c.DropTemp()...))
}

func terminated(list []string) string {
	var b strings.Builder
	for _, s := range list {
		b.WriteString(s)
		if !strings.HasPrefix(s, "--") {
			b.WriteString(";\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, c := range tables(t) {
		golden(t, name, statements(c))
	}
	d := DuckDB()
	n := Name{Dataset: "core", Table: "payments"}
	golden(t, "head", terminated([]string{
		d.CreateHead(n), d.CreateLoads(n), d.CreateNeeds(n), d.InsertHead(n), d.ReadHead(n), d.TakeOver(n), d.Advance(n),
		d.Succeed(n), d.MoveOffsets(n), d.SetRunning(n), d.SetUnsettable(n), d.LogLoad(n), d.ReadLoads(n),
	}))
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".sql")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // a source file
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run go test -update and review it\n%s", path, firstDifference(got, string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one ends before the other"
}
