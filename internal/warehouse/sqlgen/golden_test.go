package sqlgen

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func tables(t *testing.T, d *Dialect) map[string]*Core {
	t.Helper()
	oddTable, oddColumn := `core.Odd "x"`, "it's, big"
	if d.layout(layout{}) != "" {
		oddTable, oddColumn = "core.Odd x-日", "it's big" // the oddest that BigQuery takes
	}
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
			Dialect: d, Name: name(oddTable), Mode: schemas.ModeMerge,
			Columns: []Column{
				{Name: "tenant", Type: kind(schemas.String), Key: true, Staged: true},
				{Name: "select", Type: kind(schemas.Int), Key: true, Staged: true},
				{Name: oddColumn, Type: kind(schemas.String), Unsettable: true, Staged: true},
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
	if c.layout(layout{}) != "" {
		return scripts(c, h)
	}
	refused, _ := c.Refused("f")
	list := []string{
		"-- the table", c.CreateBase(), c.CreateView(), c.AddColumn(0), c.AlterType(c.Base(c.Name), 0), c.CreateChanges(),
		"-- a load: before the transaction", c.CreateStage(), c.FillStage("f"), c.CreateEffect(),
		"-- a load: if a cast has failed", refused,
		"-- a load: the transaction", c.DuplicateKey(), c.Removed(h), c.Remove(h), c.Write(h), c.Counts(),
	}
	switch remove, insert := c.Rewrite(h, 7, 1_700_000_000_000_000); {
	case c.Mode == schemas.ModeAppend:
		list = append(list, c.Append(h, 7, 1_700_000_000_000_000))
	case c.Rewrites():
		list = append(list, c.Replaced(), remove, insert)
	default:
		list = append(list, c.Merge(h, 7, 1_700_000_000_000_000))
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

// scripts are the statements of a warehouse that runs a load as one script.
func scripts(c *Core, h schemas.Position) string {
	list := []string{"-- the table", c.CreateDatasets(Schema, c.Name.Dataset, c.Name.BaseDataset()), c.CreateBase(), c.CreateView(), c.CreateHeadRow(c.Name, c.Mode, `["id"]`, `["a\\b"]`), c.CreateLoads(c.Name), c.CreateNeeds(c.Name), c.CreateStaging()}
	if c.Mode == schemas.ModeUpsert {
		return upserts(c, h)
	}
	if c.KeepImages {
		list = append(list, c.CreateChanges())
	}
	l := LoadScript{
		Batch: "b-7", StagedAtUs: 1_700_000_000_000_000, Staged: 3, Load: 7, CommittedUs: 1_700_000_000_000_000, Horizon: h,
		Head:    []string{c.Text(`{"0":12}`), c.Text(`{}`), c.Text(h.String()), "''", "NULL", "''", "FALSE", "TRUE", "7", "2"},
		Removes: c.Mode == schemas.ModeMerge, MayRun: c.Mode == schemas.ModeMerge,
		Event: [4]string{`{"rows":{"read":3,`, `},"snapshot":{"done":true,"running":`, `},"buckets":[`, `],"table":"it's"}`},
	}
	list = append(list, "-- a load", strings.TrimSuffix(c.Script(l), ";\n"))
	l.Staged, l.Removes, l.MayRun = 0, false, false
	list = append(list, "-- a load without rows", strings.TrimSuffix(c.Script(l), ";\n"))
	list = append(list, "-- its columns change", c.AddColumns([]int{0}), c.AlterType(c.Base(c.Name), 0))
	if c.Description != "" {
		list = append(list, c.Describe(), c.Explain([]int{0}))
	}
	if c.KeepImages {
		list = append(list, c.AddImageColumns([]int{2, 3}), c.AlterType(c.Changes(c.Name), 2))
	}
	return terminated(list)
}

// upserts are the statements of a table that takes changes by key.
func upserts(c *Core, h schemas.Position) string {
	next, from := *c, *c
	next.Name.Generation, from.Name.Table = 2, c.Name.Table+"__g2"
	head := []string{c.Text(`{"0":12}`), c.Text(`{}`), "''", c.Text(h.String()), "NULL", "''", "FALSE", "TRUE", "7", "2"}
	u := UpsertScript{Head: head, Load: 7, CommittedUs: 1_700_000_000_000_000, Event: `{"table":"it's"}`}
	s := SuccessionScript{
		Old: c, Epoch: 2, Load: 8, CommittedUs: u.CommittedUs, Event: u.Event, From: &from, FromEpoch: 1, FromLoad: 3,
		Head: append(head[:8:8], "8", "2", "'upsert'", `'["id"]'`, "'topic'", "'id-2'", "'[]'", "2"),
	}
	return terminated([]string{
		"-- the table", c.CreateDatasets(Schema, c.Name.Dataset, c.Name.BaseDataset()), c.CreateBase(), c.CreateView(),
		c.CreateHeadRow(c.Name, c.Mode, `["id"]`, "[]"), c.CreateLoads(c.Name),
		"-- a load", strings.TrimSuffix(c.Upsert(u), ";\n"),
		"-- its columns change", c.AddColumns([]int{0}), c.AlterType(c.Base(c.Name), 0),
		"-- what was loaded before an instant", c.ReadLoadsBefore(c.Name, 7, u.CommittedUs, 100),
		"-- what is taken in", from.CreateHeadRow(from.Name, from.Mode, `["id"]`, "[]"), from.CreateLoads(from.Name), from.CreateNeeds(from.Name), from.CreateBase(), from.CreateView(),
		"-- the next generation", strings.TrimSuffix(next.Succession(s), ";\n"), strings.TrimSuffix(next.Finish(time.UnixMicro(u.CommittedUs)), ";\n"),
	})
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
	d := DuckDB()
	for name, c := range tables(t, d) {
		golden(t, name, statements(c))
	}
	// DuckDB's row number is hidden: rows are found by their keys.
	golden(t, "merge_rowid", statements(&Core{
		Dialect: d, Name: Name{Dataset: "core", Table: "parts"}, Mode: schemas.ModeMerge,
		Columns: []Column{
			{Name: "id", Type: schemas.Type{Kind: schemas.Int}, Key: true, Staged: true},
			{Name: "RowID", Type: schemas.Type{Kind: schemas.String}, Staged: true},
		},
	}))
	n := Name{Dataset: "core", Table: "payments"}
	golden(t, "head", terminated([]string{
		d.CreateHead(n), d.CreateLoads(n), d.CreateNeeds(n), d.InsertHead(n), d.ReadHead(n), d.TakeOver(n), d.Advance(n),
		d.Succeed(n), d.MoveOffsets(n), d.SetRunning(n), d.SetUnsettable(n), d.LogLoad(n), d.ReadLoads(n),
	}))
}

// What BigQuery is told is analyzed by the module analyze, file by file.
func TestGoldenBigQuery(t *testing.T) {
	d := BigQuery()
	for name, c := range tables(t, d) {
		golden(t, "bigquery/"+name, statements(c))
	}
	golden(t, "bigquery/every_type", statements(everyType(d)))
	golden(t, "bigquery/upsert", statements(upserted(d)))
	golden(t, "bigquery/succession", successions(t, d))
	n := Name{Dataset: "core", Table: "payments"}
	golden(t, "bigquery/head", terminated([]string{
		d.CreateHeadRow(n, schemas.ModeMerge, `["id"]`, "[]"), d.CreateLoads(n), d.CreateNeeds(n), d.ReadHead(n),
		strings.TrimSuffix(d.TakeOverScript(n, "shop.public.payments", "id-1"), ";\n"),
		strings.TrimSuffix(d.MoveOffsetsScript(n, `{"0":0}`, 3), ";\n"),
		Bind(d.SetUnsettable(n), d.Text(`["a\\b"]`)), Bind(d.ReadLoads(n), "6", "10"), d.ReadNeeds(n),
		strings.TrimSuffix(d.NeedsScript(n, "analytics.x", [][2]string{{"change", "it's"}, {"event_time", "a\\b"}}), ";\n"),
		strings.TrimSuffix(d.NeedsScript(n, "analytics.x", nil), ";\n"),
	}))
}

// successions are those of a copy that takes another in, and of a history.
func successions(t *testing.T, d *Dialect) string {
	head := []string{
		"'{}'", "'{}'", "''", "''", "NULL", "''", "FALSE", "TRUE", "7", "2", "'merge'", `'["id"]'`, "'topic'", "'id-2'", "'[]'", "2",
	}
	all := tables(t, d)
	s := SuccessionScript{Epoch: 2, Load: 7, Head: head, CommittedUs: 1_700_000_000_000_000, Event: `{"table":"it's"}`}
	next, from := *all["merge_plain"], *all["merge_plain"]
	next.Name.Generation, from.Name.Table = 2, "payments__g2"
	s.Old, s.From, s.FromEpoch, s.FromLoad, s.Images = all["merge_plain"], &from, 1, 3, true
	list := []string{"-- what is taken in", from.CreateHeadRow(from.Name, from.Mode, `["id"]`, "[]"), from.CreateLoads(from.Name), from.CreateNeeds(from.Name), from.CreateBase(), from.CreateView()}
	list = append(list, "-- the table", s.Old.CreateHeadRow(s.Old.Name, s.Old.Mode, `["id"]`, "[]"), s.Old.CreateLoads(s.Old.Name), s.Old.CreateBase(), s.Old.CreateChanges(), s.Old.CreateView())
	list = append(list, "-- a copy", strings.TrimSuffix(next.Succession(s), ";\n"), strings.TrimSuffix(next.Finish(time.UnixMicro(s.CommittedUs)), ";\n"))
	old, history := all["append"], *all["append"]
	history.Name.Generation = 2
	history.Columns = append([]Column{}, old.Columns...)
	history.Columns[0] = Column{Name: "id__g1", Type: old.Columns[0].Type}
	history.Columns = append(history.Columns, Column{Name: "id", Type: schemas.Type{Kind: schemas.String}, Key: true})
	s.Old, s.From, s.Images = old, nil, false
	list = append(list, "-- a history", old.CreateHeadRow(old.Name, old.Mode, `["id"]`, "[]"), old.CreateLoads(old.Name), old.CreateBase(), strings.TrimSuffix(history.Succession(s), ";\n"))
	events, whole := all["append_without_key"], *all["append_without_key"]
	taken := whole
	whole.Name.Generation, taken.Name.Table = 2, "events__g2"
	s.Old, s.From = events, &taken
	list = append(list, "-- a history that is read anew", taken.CreateHeadRow(taken.Name, taken.Mode, "[]", "[]"), taken.CreateBase(),
		events.CreateHeadRow(events.Name, events.Mode, "[]", "[]"), events.CreateLoads(events.Name), strings.TrimSuffix(whole.Succession(s), ";\n"))
	return terminated(list)
}

// upserted has keys of every kind that clusters, and an event time, by which it is
// not partitioned.
func upserted(d *Dialect) *Core {
	c := &Core{Dialect: d, Name: Name{Dataset: "core", Table: "accounts"}, Mode: schemas.ModeUpsert, EventTimes: []int{1}, Description: "by key"}
	add := func(name string, t schemas.Type, key bool) {
		c.Columns = append(c.Columns, Column{Name: name, Type: d.Held(t), Key: key, Staged: true})
	}
	add("id", schemas.Type{Kind: schemas.Int}, true)
	add("at", schemas.Type{Kind: schemas.Timestamp}, false)
	for _, k := range []schemas.Kind{schemas.String, schemas.Date, schemas.Timestamp, schemas.DateTime, schemas.Bool} {
		add("k_"+strings.ToLower(k.String()), schemas.Type{Kind: k}, true)
	}
	add("k_numeric", decimal(20, 0), true)
	add("it's big", schemas.Type{Kind: schemas.JSON}, false)
	return c
}

// everyType has a column of each type, all of which may lack their value, and
// bounds of the key.
func everyType(d *Dialect) *Core {
	c := &Core{
		Dialect: d, Name: Name{Dataset: "core", Table: "every"}, Mode: schemas.ModeMerge, KeepImages: true, Description: "it's a\ntable",
		Columns: []Column{
			{Name: "id", Type: schemas.Type{Kind: schemas.Int}, Key: true, Staged: true, Description: "the \\ key"},
			{Name: "at", Type: schemas.Type{Kind: schemas.Timestamp}, Key: true, Staged: true},
		},
		EventTimes: []int{1}, Bounds: map[int][2]string{0: {"1", "99"}},
	}
	add := func(name string, t schemas.Type) {
		c.Columns = append(c.Columns, Column{Name: name, Type: d.Held(t), Unsettable: true, Staged: true})
		c.Changed = append(c.Changed, len(c.Columns)-1)
	}
	for k := schemas.Bool; k <= schemas.JSON; k++ {
		if k != schemas.Decimal {
			add("c_"+strings.ToLower(k.String()), schemas.Type{Kind: k})
		}
	}
	add("T", schemas.Type{Kind: schemas.Int}) // the alias of the table
	for _, t := range []schemas.Type{decimal(38, 9), decimal(20, 0), decimal(39, 10), decimal(76, 38), decimal(77, 0)} {
		add(fmt.Sprintf("c_%d_%d", t.Precision, t.Scale), t)
	}
	return c
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".sql")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a source folder
			t.Fatal(err)
		}
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
