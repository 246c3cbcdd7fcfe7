package bigquery

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/fault"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/internal/warehouse/warehousetest"
	"millrace/schemas"
)

func TestConformance(t *testing.T) {
	slow(t)
	warehousetest.Run(t, func(t *testing.T) *warehousetest.Harness {
		t.Parallel()
		p := conformanceProject(t)
		p.stageSnapshotsByFile() // and the rest by the stream
		return p.harness()
	})
}

func TestUpsertConformance(t *testing.T) {
	slow(t)
	warehousetest.RunUpserts(t, func(t *testing.T) *warehousetest.Harness {
		t.Parallel()
		p := newProject(t)
		p.stageSnapshotsByFile() // which does not become it
		return p.harness()
	})
}

func TestRunnerConformance(t *testing.T) {
	slow(t)
	warehousetest.RunRunner(t, func(t *testing.T) *warehousetest.RunnerHarness {
		t.Parallel()
		p := conformanceProject(t)
		points, committed := RunPoints()
		var of *Warehouse
		var runner *Runner
		return &warehousetest.RunnerHarness{
			Harness: p.harness(), Spelling: NewSpelling(), SQLType: sqlgen.BigQuery().Type, RunPoints: points, RunCommitted: committed, Drop: p.drop,
			Runner: func() warehouse.Runner {
				if of != p.w {
					of, runner = p.w, p.w.newRunner()
				}
				return runner
			},
			Nested: warehousetest.Nested{
				List: func(element string) string { return "ARRAY<" + element + ">" },
				Struct: func(fields ...[2]string) string {
					return "STRUCT<" + warehousetest.Fields("`%[1]s` %[2]s", fields) + ">"
				},
				Value: func(fields ...[2]string) string {
					return "STRUCT(" + warehousetest.Fields("%[2]s AS %[1]s", fields) + ")"
				},
				JSON: func(expr string) string { return "TO_JSON_STRING(" + expr + ")" },
			},
		}
	})
}

func (p *project) drop(t *testing.T, table string) {
	t.Helper()
	dataset, name, _ := strings.Cut(table, ".")
	if err := p.w.jobs.Tables.Delete(p.w.opts.Project, dataset, name).Context(t.Context()).Do(); err != nil {
		t.Fatal(err)
	}
}

func (p *project) harness() *warehousetest.Harness {
	points, committed := LoadPoints()
	return &warehousetest.Harness{
		Loader: func() warehouse.Loader { return p.w }, Crash: p.crash,
		Faults: &p.faults, Points: points, Committed: committed,
		Succession: []string{PointSucceedBegin, PointSucceedCommitted},
		Rows:       p.rows, View: p.view, Images: p.images, Slow: true,
		Limits: warehousetest.Limits{
			JSONByMeaning: true, FourDigitYears: true, TellsCase: true,
			OddTable: "core.Odd táble-x 日本",
			OddColumns: []string{
				"we -quote-", "sp ace", "select", "UPPER", "naïve é 日本", "a&b", "%2C", "#semi", "it's", "s", "t", "v0", "at1", "op", "pos", "b", "a=b", "<x>", "x:y", "_at_big", "rowid", "É",
			},
		},
	}
}

// project is a project, mostly in a fake, and the process that writes it.
type project struct {
	fake   *bigqueryfake.Fake // nil: it is another's
	opts   Options            // of another's
	w      *Warehouse
	faults fault.Plan
	files  fileRules
}

// stageSnapshotsByFile makes every batch of a snapshot large enough for a file.
func (p *project) stageSnapshotsByFile() {
	p.files.least = 0
	p.w.files = p.files
	// The fake takes any number of definitions, and nobody waits for time to pass.
	var asked atomic.Int64
	p.w.updates.now = func() time.Time { return time.Unix(0, 0).Add(time.Duration(asked.Add(1)) * updatesWithin) }
}

func newProject(t *testing.T) *project {
	t.Helper()
	return newProjectWith(t, bigqueryfake.Options{})
}

func newProjectWith(t *testing.T, opts bigqueryfake.Options) *project {
	t.Helper()
	p := &project{files: fileDefaults()}
	var err error
	if p.fake, err = bigqueryfake.Start(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	p.open(t)
	t.Cleanup(func() {
		if err := errors.Join(p.w.Close(), p.fake.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func fakeOptions(fake *bigqueryfake.Fake) Options {
	return Options{Project: fake.Project(), Location: "US", Jobs: fake.ClientOptions(), Writes: fake.WriteOptions(), RetryWait: time.Millisecond}
}

func (p *project) open(t *testing.T) {
	t.Helper()
	opts := p.opts
	if p.fake != nil {
		opts = fakeOptions(p.fake)
	}
	opts.Fault = p.faults.Hook
	var err error
	if p.w, err = Open(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	p.w.files = p.files
	// The fake takes any number of definitions, and nobody waits for time to pass.
	var asked atomic.Int64
	p.w.updates.now = func() time.Time { return time.Unix(0, 0).Add(time.Duration(asked.Add(1)) * updatesWithin) }
}

// crash goes on as another process, which knows nothing.
func (p *project) crash(t *testing.T) {
	t.Helper()
	left := p.w
	p.open(t)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
}

func (p *project) rows(t *testing.T, table warehouse.CoreTable) (out []warehousetest.Stored) {
	n := p.name(t, table)
	head, err := p.w.readHead(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	n.Generation = head.Generation
	meta := "_pos, _born, _deleted, '' AS op, _unset, _load"
	switch table.Mode {
	case schemas.ModeUpsert:
		meta = "_pos, '' AS born, FALSE AS deleted, '' AS op, '' AS _unset, _load"
	case schemas.ModeAppend:
		meta = "_pos, '' AS born, FALSE AS deleted, _op, _unset, _load"
	}
	for _, r := range p.read(t, n, "SELECT "+meta+", "+p.selectList(table.Columns)+" FROM "+p.w.dialect.Base(n)) {
		s := warehousetest.Stored{V: cells(t, table.Columns, r[6:]), Op: str(r[3]), Unset: sqlgen.ParseUnset(str(r[4]))}
		s.Deleted, _ = r[2].(bool)
		s.Load, _ = r[5].(int64)
		if err := errors.Join(s.Pos.UnmarshalText([]byte(str(r[0]))), s.Born.UnmarshalText([]byte(str(r[1])))); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func (p *project) view(t *testing.T, table warehouse.CoreTable) (out []schemas.Row) {
	n := p.name(t, table)
	for _, r := range p.read(t, n, "SELECT "+p.selectList(table.Columns)+" FROM "+p.w.dialect.View(n)) {
		out = append(out, cells(t, table.Columns, r))
	}
	return out
}

func (p *project) images(t *testing.T, table warehouse.CoreTable, names []string) (out []warehousetest.Image) {
	var columns []schemas.Column
	for _, name := range names {
		columns = append(columns, table.Columns[slices.IndexFunc(table.Columns, func(c schemas.Column) bool { return c.Name == name })])
	}
	n := p.name(t, table)
	for _, r := range p.read(t, n, "SELECT _load, _image = 'new' AS new_image, "+p.selectList(columns)+" FROM "+p.w.dialect.Changes(n)+" ORDER BY _load, _image DESC") {
		i := warehousetest.Image{V: cells(t, columns, r[2:])}
		i.Load, _ = r[0].(int64)
		i.New, _ = r[1].(bool)
		out = append(out, i)
	}
	return out
}

func (p *project) name(t *testing.T, table warehouse.CoreTable) sqlgen.Name {
	t.Helper()
	n, err := p.w.dialect.ParseName(table.Name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (p *project) read(t *testing.T, n sqlgen.Name, query string) [][]any {
	t.Helper()
	rows, err := p.w.query(t.Context(), n, query)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// selectList gives every value in a form that holds all of it.
func (p *project) selectList(columns []schemas.Column) string {
	var out []string
	for i, c := range columns {
		id := p.w.dialect.Ident(c.Name)
		switch c.Type.Kind {
		case schemas.Bool:
			id = "CAST(" + id + " AS INT64)"
		case schemas.Decimal:
			id = "CAST(" + id + " AS STRING)"
		case schemas.JSON:
			id = "CASE WHEN " + id + " IS NULL THEN NULL ELSE TO_JSON_STRING(" + id + ") END"
		case schemas.Date:
			id = "UNIX_DATE(" + id + ")"
		case schemas.Timestamp:
			id = "UNIX_MICROS(" + id + ")"
		case schemas.DateTime:
			id = "UNIX_MICROS(TIMESTAMP(" + id + "))"
		}
		out = append(out, fmt.Sprintf("%s AS c%d", id, i))
	}
	return strings.Join(out, ", ")
}

func cells(t *testing.T, columns []schemas.Column, values []any) schemas.Row {
	t.Helper()
	out := make(schemas.Row, len(values))
	for i, v := range values {
		if v == nil {
			out[i] = schemas.NullCell()
			continue
		}
		if n, ok := v.(int64); ok {
			out[i] = schemas.IntCell(n)
			continue
		}
		text := str(v)
		var err error
		switch columns[i].Type.Kind {
		case schemas.Float:
			var f float64
			f, err = strconv.ParseFloat(text, 64)
			out[i] = schemas.FloatCell(f)
		case schemas.Time:
			var at time.Time
			at, err = time.Parse("15:04:05", text)
			out[i] = schemas.IntCell(at.Sub(at.Truncate(24 * time.Hour)).Microseconds())
		case schemas.Decimal:
			var b []byte
			b, err = schemas.AppendDecimal(nil, []byte(text), columns[i].Type)
			out[i] = schemas.BytesCell(b)
		case schemas.Bytes:
			var b []byte
			b, err = base64.StdEncoding.DecodeString(text)
			out[i] = schemas.BytesCell(b)
		default:
			out[i] = schemas.BytesCell([]byte(text))
		}
		if err != nil {
			t.Fatalf("column %s: %v", columns[i].Name, err)
		}
	}
	return out
}

// slow is a test that a short run leaves out, unless it is to run in a project.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() && os.Getenv(testProject) == "" {
		t.Skip("-short: it takes seconds")
	}
}
