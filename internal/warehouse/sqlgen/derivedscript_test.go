package sqlgen

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/schemas"
)

// What BigQuery is told of runs is analyzed by the module analyze. What a job
// writes into a scratch table stands here as a table that is made of the query.
func TestGoldenBigQueryRuns(t *testing.T) {
	golden(t, "bigquery/run_windows", terminated(windowRun(t)))
	golden(t, "bigquery/run_keys", terminated(keyRun(t)))
	golden(t, "bigquery/run_every_type", terminated(everyTypeRun()))
}

func newRun(d *Derived) *Run { return &Run{Derived: d, ID: d.Name.Own("run") + "_s_1"} }

func (r *Run) made(table, query string) string {
	return "CREATE TABLE " + r.scratch(table) + " AS\n" + query
}

func one(script string) string { return strings.TrimSuffix(script, ";\n") }

func definitions(d *Derived) []string {
	return []string{
		"-- the table", d.CreateDatasets(Schema, d.Name.Dataset), d.CreateScratch(), d.CreateDerivedHeadRow(d.Name), d.CreateLoads(d.Name), d.CreateNeeds(d.Name), d.CreateDirty(),
		d.CreateTable(), one(d.TakeOverDerivedScript(d.Name, 3)), d.Owner(d.Name, 4), d.ReadInput(d.Name, true),
	}
}

var headLiterals = []string{"8", "'hash'", `'{"core.payments":12}'`, "'2024-03-01 00:00:00'", "NULL", "'2024-03-05 10:00:00.000001+00'", "TRUE", "4", "7", "'was'"}

func windowRun(t *testing.T) []string {
	t.Helper()
	d := BigQuery()
	n, err := d.ParseName("analytics.days")
	if err != nil {
		t.Fatal(err)
	}
	table := &Derived{
		Dialect: d, Name: n, Columns: []string{"day", "item", "amount"}, Types: []string{"DATE", "STRING", "NUMERIC"}, Key: []string{"day", "item"},
		Window: "day", Partition: "day", Cluster: []string{"day", "item"}, Changed: []string{"amount"}, KeepImages: true,
		Description: "what a day's items made", Labels: map[string]string{"Team": "growth", "7": "x"}, Remarks: map[string]string{"item": "it's a name"},
	}
	out := append(definitions(table), table.CreateRunChanges(), table.AddRunImages([]string{"amount"}), table.RemakeImages([]string{"_load", "_image", "day", "item", "amount", "was"}, []string{"INT64", "STRING", "DATE", "STRING", "INT64", "BOOL"})[1], table.AddColumns([]string{"item"}), table.Describe(), table.Explain([]string{"item"}))
	out = append(out, table.Remake(func(c string) bool { return c != "amount" })...)
	out = append(out, table.PutRemade()...)
	out = append(out, table.ForgetCode(3))
	out = append(out, table.Restart(3)...)
	r := newRun(table)
	r.Owned = []string{"(`day` >= DATE '2024-03-01' AND `day` < DATE '2024-03-02')", "(`day` >= DATE '2024-03-02' AND `day` < DATE '2024-03-03')"}
	query := "SELECT DATE '2024-03-0%d' AS day, 'it\\'s' AS item, CAST(1.5 AS NUMERIC) AS amount -- no end"
	out = append(out, "-- a run", r.made(r.Stage(), r.Compute([]string{fmt.Sprintf(query, 1), fmt.Sprintf(query, 2)})), r.made(r.Diff(), r.Differ()),
		r.Inspect(2, []RunCheck{{Violated: "`item` IS NULL"}, {Unique: []string{"day", "item"}}}, []Time{{"day", schemas.Date}}, true))
	day := time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)
	window := DirtyWindow{Window: day, Since: day, Mark: 3, Cause: "[]", Error: "it's no", Failures: 2, RetryAt: day}
	p := Publication{
		Head: headLiterals, Load: 8, Changed: []int{0, 1}, Forget: true, Logged: true, Mode: schemas.ModeReplace, CommittedUs: 1_700_000_000_000_000, Event: `{"table":"it's"}`,
		Dirt: append([]string{table.ForgetAll(), table.ClearWindows([]DirtyWindow{window, {Mark: 1}})}, table.MarkWindows([]DirtyWindow{window, {Window: day, Since: day, Cause: "[]"}})...),
	}
	out = append(out, "-- it is published: by replacing", one(r.Publish(p)))
	out = append(out, "-- many windows become dirty", one(r.PutMarks([]DirtyWindow{window, {Window: day, Since: day, Cause: "[]"}})))
	out = append(out, r.TakeMarks()...)
	p.Mode = schemas.ModeMerge
	out = append(out, "-- by merging", one(r.Publish(p)))
	p.Changed, p.Forget, p.Logged, p.Dirt, r.KeepImages = nil, false, false, nil, false
	out = append(out, "-- progress alone", one(r.Publish(p)))
	r.Owned, p.Changed, p.Logged, p.Mode = []string{"TRUE"}, []int{0}, true, schemas.ModeReplace
	out = append(out, "-- the whole table", one(r.Publish(p)), table.ReadDirty())
	out = append(out, "-- reading, sweeping", d.ReadInputs([]Name{n, {Dataset: "core", Table: "missing"}, n}, func(i int) (bool, bool) { return true, i != 1 }), "SELECT item FROM "+d.ChangesBetween(n, 3, 5),
		d.QueryBuckets("SELECT day FROM analytics.days -- no end", "day", schemas.Date), d.LiveNeeds(n, 1_700_000_000_000_000))
	return append(out, append(d.SweepChanges(n, 5), d.SweptSoFar(n))...)
}

func keyRun(t *testing.T) []string {
	t.Helper()
	d := BigQuery()
	n, err := d.ParseName("analytics.customers")
	if err != nil {
		t.Fatal(err)
	}
	table := &Derived{
		Dialect: d, Name: n, Columns: []string{"customer", "at", "n"}, Types: []string{"INT64", "TIMESTAMP", "FLOAT64"}, Key: []string{"customer", "at"}, Owning: []string{"customer"},
	}
	r := newRun(table)
	query := fmt.Sprintf("SELECT q.customer AS customer, TIMESTAMP '2024-03-01 00:00:00+00' AS `at`, 1.5 AS n FROM analytics.customers AS q WHERE (`customer`) IN %s AND '%s' <> 'x'", AnyDirtyKeyList, AnyDirtyKeys)
	out := append(definitions(table), "-- a run", r.made(r.Fresh(), r.FreshKeys([]string{"SELECT customer AS c FROM analytics.customers -- no end", "SELECT 7"})), r.made(r.Keys(), r.DueKeys(true, 9)), r.DueKeys(false, 0), r.ReadKeys(10))
	literals := "(1, 2)"
	r.OwnBy(literals)
	out = append(out, r.made(r.Stage(), r.Compute([]string{r.OwnKeys(query, literals)})), r.Compute([]string{r.OwnKeys(query, "")}), r.made(r.Diff(), r.Differ()), r.Inspect(1, nil, nil, false), r.Inspect(0, nil, nil, true))
	p := Publication{
		Head: headLiterals, Load: 8, Changed: []int{0}, Logged: true, Mode: schemas.ModeMerge, FreshKeys: true, ByKeys: true, KeyMark: 9, CommittedUs: 1_700_000_000_000_000,
		Event: "{}", Dirt: []string{Bind(table.HoldKeys(), "'it\\'s'", "2", "'2024-03-01 00:00:00+00'")},
	}
	out = append(out, "-- it is published", one(r.Publish(p)))
	r.OwnBy("")
	out = append(out, "-- with more keys than literals: by merging", one(r.Publish(p)))
	p.Mode = schemas.ModeReplace
	out = append(out, "-- by replacing", one(r.Publish(p)), table.SumDirty())
	pair := newRun(&Derived{Dialect: d, Name: Name{Dataset: "analytics", Table: "pairs"}, Columns: []string{"a", "b"}, Types: []string{"INT64", "STRING"}, Key: []string{"a", "b"}, Owning: []string{"a", "b"}})
	out = append(append(out, definitions(pair.Derived)...), pair.made(pair.Keys(), pair.DueKeys(false, 0)))
	for _, literals := range []string{"((1, 'x'), (2, 'y'))", ""} {
		pair.OwnBy(literals)
		out = append(out, "SELECT 1 FROM analytics.pairs WHERE "+pair.Owned[0], pair.OwnKeys("SELECT a FROM "+AnyDirtyKeys+" /* "+AnyDirtyKeys+" */", literals))
	}
	return out
}

// A merge names literally which of the table's rows it may find, so that the
// warehouse need not read the others; a query in its condition would be refused.
func TestMergeIsPruned(t *testing.T) {
	r := newRun(&Derived{Dialect: BigQuery(), Name: Name{Dataset: "a", Table: "t"}, Columns: []string{"k", "n"}, Types: []string{"INT64", "INT64"}, Key: []string{"k"}, Owning: []string{"k"}})
	for literals, want := range map[string]string{"(1, 2)": "ON t.`k` = s._c0 AND ((`k`) IN (1, 2))\n", "": "ON t.`k` = s._c0\n"} {
		r.OwnBy(literals)
		if got := r.merge(); !strings.Contains(got, want) {
			t.Errorf("with keys %q:\n%s", literals, got)
		}
	}
	r.queried, r.Owned = false, []string{"(`k` >= 1)", "(`k` >= 5)"}
	if got, want := r.merge(), "AND ((`k` >= 1) OR (`k` >= 5))\n"; !strings.Contains(got, want) {
		t.Error(got)
	}
}

// everyTypeRun appends, replaces and merges rows with a column of each type.
func everyTypeRun() []string {
	d := BigQuery()
	table := &Derived{Dialect: d, Name: Name{Dataset: "analytics", Table: "every"}, Key: []string{"c_int64", "c_float64", "c_numeric"}, KeepImages: true}
	var values []string
	for k := schemas.Bool; k <= schemas.JSON; k++ {
		sqlType := k.String()
		if k == schemas.Decimal {
			sqlType = "NUMERIC"
		}
		table.Columns, table.Types = append(table.Columns, "c_"+strings.ToLower(sqlType)), append(table.Types, sqlType)
		values = append(values, "CAST(NULL AS "+sqlType+") AS c_"+strings.ToLower(sqlType))
	}
	for i, sqlType := range []string{"ARRAY<STRING>", "STRUCT<`a` INT64, `b c` NUMERIC>", "ARRAY<STRUCT<`by` STRING, `at` ARRAY<DATE>>>"} {
		name := fmt.Sprintf("c_nested_%d", i)
		table.Columns, table.Types = append(table.Columns, name), append(table.Types, sqlType)
		values = append(values, "CAST(NULL AS "+sqlType+") AS "+name)
	}
	table.Columns, table.Types, values = append(table.Columns, "t", "s"), append(table.Types, "INT64", "STRING"), append(values, "1 AS t", "'x' AS s") // aliases
	table.Changed = []string{"c_json", "c_nested_0", "c_nested_2"}
	r := newRun(table)
	r.Owned = []string{"TRUE"}
	query := "SELECT " + strings.Join(values, ", ")
	times := []Time{{"c_date", schemas.Date}, {"c_timestamp", schemas.Timestamp}, {"c_datetime", schemas.DateTime}}
	out := append(definitions(table), table.CreateRunChanges(), "-- a run", r.made(r.Stage(), r.Compute([]string{query})), r.made(r.Diff(), r.Differ()), r.Inspect(1, []RunCheck{{Unique: []string{"c_json", "c_numeric", "c_int64", "c_nested_0", "c_nested_1"}}, {Violated: "c_nested_2 IS NULL"}}, times, true))
	p := Publication{Head: headLiterals, Load: 8, Changed: []int{0}, Logged: true, Mode: schemas.ModeMerge, CommittedUs: 1, Event: "{}"}
	out = append(out, "-- it is published", one(r.Publish(p)))
	appended := *table
	appended.Name.Table, appended.Append, appended.Key = "appended", true, nil
	a := newRun(&appended)
	p.Mode = schemas.ModeAppend
	return append(append(out, definitions(&appended)...), appended.CreateRunChanges(), a.made(a.Stage(), a.Compute([]string{query})), a.Inspect(1, nil, times, false), one(a.Publish(p)))
}
