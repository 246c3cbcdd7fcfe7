package bigquery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"
	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// metric is what the counter has counted.
func metric(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return all[0].GetMetric()[0].GetCounter().GetValue()
}

func readFile(t *testing.T, c *sqlgen.Core, table warehouse.CoreTable, rows *listed) (*file, []map[string]any) {
	t.Helper()
	f, err := newFile(c, &warehouse.Batch{Table: table, Rows: rows}, "b1", 1_700_000_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	in, err := goavro.NewOCFReader(bytes.NewReader(all))
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for in.Scan() {
		row, err := in.Read()
		if err != nil {
			t.Fatal(err)
		}
		flat := map[string]any{}
		for name, v := range row.(map[string]any) {
			if branch, ok := v.(map[string]any); ok {
				for _, inner := range branch {
					flat[name] = inner
				}
			}
		}
		out = append(out, flat)
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return f, out
}

func TestFileIsWhatAvroReads(t *testing.T) {
	c, table := fixture(schemas.ModeMerge)
	pos := at(9)
	older := make([]schemas.Position, len(table.Columns))
	for i := range older {
		older[i] = pos
	}
	older[1] = at(3)
	f, got := readFile(t, c, table, &listed{
		folds: []warehouse.Folded{{Op: schemas.Create, Pos: pos, Born: pos}, {Op: schemas.Delete, Pos: pos, Born: pos}, {Op: schemas.Update, Pos: pos, At: older}},
		write: []func(warehouse.Sink){everyValue, func(s warehouse.Sink) {
			s.Bytes(1, []byte("gone")) // before the key
			s.Int(0, 8)
			s.Int(2, 1)
		}, func(s warehouse.Sink) { s.Int(0, 9); s.Null(2) }},
	})
	// The library knows no local-timestamp-micros, and gives the number.
	meta := map[string]string{"pos": pos.String(), "_batch": "b1", "_staged_at": "2023-11-14 22:13:20 +0000 UTC"}
	want := []map[string]string{{
		"v0": "-7", "v1": "né", "v2": "true", "v3": "-Inf", "v4": "-123456789/10", "v5": "1/200000000000000000000000000000", "v6": "12",
		"v7": "[0 255]", "v8": "0001-01-01 00:00:00 +0000 UTC", "v9": "23h59m59.999999s", "v10": "9999-12-31 23:59:59.999999 +0000 UTC",
		"v11": "-1", "v12": `{"a":1}`, "op": "c", "born": pos.String(),
	}, {"v0": "8", "op": "d", "born": pos.String(), "at1": ""}, {"v0": "9", "op": "u", "born": "", "at1": at(3).String()}}
	for i := range want {
		for k, v := range meta {
			want[i][k] = v
		}
		text := map[string]string{}
		for k, v := range got[i] {
			text[k] = fmt.Sprint(v)
		}
		if fmt.Sprint(text) != fmt.Sprint(want[i]) {
			t.Errorf("row %d:\ngot  %v\nwant %v", i, text, want[i])
		}
	}
	if f.count != 3 || len(got) != 3 || f.e.nullKeys {
		t.Errorf("%d rows, %d read", f.count, len(got))
	}
}

// A file of many blocks is read back whole, and holds one block at a time.
func TestFileOfManyBlocks(t *testing.T) {
	c, table := fixture(schemas.ModeMerge)
	const n = 10_000
	rows := many(n)
	f, got := readFile(t, c, table, rows)
	if len(got) != n || f.count != n || cap(f.block) > 2*fileBlock {
		t.Fatalf("%d rows of %d, a block of %d bytes", len(got), f.count, cap(f.block))
	}
	for i, row := range got {
		if row["v0"] != int64(i)+1 {
			t.Fatalf("row %d is %v", i, row)
		}
	}
	if b := f.e.bounds(c); b[0] != [2]string{"1", fmt.Sprint(n)} {
		t.Errorf("bounds %v", b)
	}
}

// batchOf are rows of the fixture whose values are at all borders, null, and
// anything in between.
func batchOf(table warehouse.CoreTable, rng *rand.Rand, n int) *listed {
	l := &listed{}
	for i := range n {
		var values []func(warehouse.Sink)
		at9 := make([]schemas.Position, len(table.Columns))
		for col, c := range table.Columns {
			at9[col] = at(9)
			if col == 0 {
				values = append(values, func(s warehouse.Sink) { s.Int(0, int64(i)) })
				continue
			}
			if rng.IntN(5) == 0 {
				values = append(values, func(s warehouse.Sink) { s.Null(col) })
				continue
			}
			values = append(values, anyValue(rng, col, c.Type))
		}
		f := warehouse.Folded{Op: schemas.Read, Pos: at(9), Born: at(9), TsUs: int64(i)}
		switch rng.IntN(4) {
		case 0:
			at9[1] = at(3)
			f.Op, f.At = schemas.Update, at9
		case 1:
			f.Op = schemas.Delete
		}
		rng.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
		l.folds = append(l.folds, f)
		l.write = append(l.write, func(s warehouse.Sink) {
			for _, v := range values {
				v(s)
			}
		})
	}
	return l
}

func anyValue(rng *rand.Rand, col int, t schemas.Type) func(warehouse.Sink) {
	pick := func(least, most int64) func(warehouse.Sink) {
		v := []int64{least, most, 0, -1, 1, least + rng.Int64N(most/2)}[rng.IntN(6)]
		return func(s warehouse.Sink) { s.Int(col, max(least, v)) }
	}
	text := func(all ...string) func(warehouse.Sink) {
		v := all[rng.IntN(len(all))]
		return func(s warehouse.Sink) { s.Bytes(col, []byte(v)) }
	}
	switch t.Kind {
	case schemas.Bool:
		return func(s warehouse.Sink) { s.Int(col, int64(col&1)) }
	case schemas.Int:
		return pick(math.MinInt64, math.MaxInt64)
	case schemas.Date:
		return pick(minDay, maxDay)
	case schemas.Time:
		return pick(0, dayUs-1)
	case schemas.Timestamp, schemas.DateTime:
		return pick(minTime, maxTime)
	case schemas.Float:
		v := []float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), 0.1, math.MaxFloat64, math.SmallestNonzeroFloat64}[rng.IntN(8)]
		return func(s warehouse.Sink) { s.Float(col, v) }
	case schemas.Decimal:
		digits := 1 + rng.IntN(t.Precision)
		number := strings.Repeat("9", digits)
		number = []string{"0", number, "-" + number, "10", "-1"}[rng.IntN(5)]
		if t.Scale > 0 {
			number = strings.TrimPrefix(number, "-")
			number = strings.Repeat("0", max(0, t.Scale+1-len(number))) + number
			number = []string{"", "-"}[rng.IntN(2)] + number[:len(number)-t.Scale] + "." + number[len(number)-t.Scale:]
		}
		twos, err := schemas.AppendDecimal(nil, []byte(number), t)
		if err != nil {
			panic(err)
		}
		return func(s warehouse.Sink) { s.Bytes(col, twos) }
	case schemas.JSON:
		return text(`{}`, `{"a":[1,"é"]}`, `null`, `"x"`)
	case schemas.Bytes:
		return text("", "\x00\xff", "abc")
	}
	return text("", "né", "日本", strings.Repeat("long ", 100))
}

// Every value stands in the stage as the other way would have put it.
func TestBothWaysStageTheSame(t *testing.T) {
	slow(t)
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any
	t.Logf("seed %d", seed)
	for _, mode := range []schemas.Mode{schemas.ModeMerge, schemas.ModeAppend} {
		c, table := fixture(mode)
		// Columns that a batch's are smaller than: numbers with fewer digits, and
		// none behind the point.
		narrow := table
		narrow.Columns = slices.Clone(table.Columns)
		for name, of := range map[string][2]schemas.Type{
			"d1": {decimal(20, 6), decimal(10, 2)}, "d2": {decimal(24, 4), kindOf(schemas.Int)}, "d3": {decimal(60, 30), decimal(40, 20)}, "d4": {decimal(77, 2), decimal(10, 1)},
		} {
			table.Columns = append(table.Columns, schemas.Column{Name: name, Type: of[0]})
			narrow.Columns = append(narrow.Columns, schemas.Column{Name: name, Type: of[1]})
			c.Columns = append(c.Columns, sqlgen.Column{Name: name, Type: c.Held(of[0]), Staged: true})
		}
		p := newProject(t)
		p.stageSnapshotsByFile()
		if err := p.w.Ensure(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		tab, err := p.w.entry(table.Name)
		if err != nil {
			t.Fatal(err)
		}
		const n = 200
		names, types := c.StageColumns()
		var list []string
		for i, name := range names {
			switch types[i].Kind {
			case schemas.JSON:
				name = "TO_JSON_STRING(" + name + ")"
			case schemas.Timestamp:
				name = "UNIX_MICROS(" + name + ")"
			case schemas.DateTime:
				name = "UNIX_MICROS(TIMESTAMP(" + name + "))"
			default:
				name = "CAST(" + name + " AS STRING)"
			}
			list = append(list, fmt.Sprintf("%s AS c%d", name, i))
		}
		for kind, of := range map[string]warehouse.CoreTable{"whole": table, "narrow": narrow} {
			rows := batchOf(of, rand.New(rand.NewPCG(seed, 1)), n)
			var got [2][][]any
			for i, snapshot := range []bool{false, true} {
				s, err := p.w.stage(t.Context(), tab, c, &warehouse.Batch{Table: of, Rows: rows, Snapshotting: snapshot, Counts: schemas.RowCounts{Read: n}})
				if err != nil || s.rows != n || s.nullKeys || fmt.Sprint(s.bounds) != fmt.Sprint(map[int][2]string{0: {"0", fmt.Sprint(n - 1)}}) {
					t.Fatalf("%s, snapshot %v: %+v, %v", kind, snapshot, s, err)
				}
				got[i] = p.read(t, tab.name, fmt.Sprintf("SELECT %s FROM %s WHERE _batch = %s ORDER BY v0",
					strings.Join(list, ", "), p.w.dialect.Qualified(sqlgen.Schema, c.Staging()), c.Text(s.batch)))
			}
			for i := range n {
				if fmt.Sprint(got[0][i]) != fmt.Sprint(got[1][i]) {
					t.Fatalf("%s, %s, row %d:\nby the stream %v\nby a file    %v", mode, kind, i, got[0][i], got[1][i])
				}
			}
		}
		if staged := metric(t, p.w.metrics.stagedRows.WithLabelValues(byFile)); staged != 2*n {
			t.Errorf("%v rows were staged by files", staged)
		}
	}
}

// Whatever goes wrong with a file, the stream takes the batch, and every row is
// loaded once.
func TestEveryFaultOfAFile(t *testing.T) {
	slow(t)
	for name, c := range map[string]struct {
		point  string
		fault  bigqueryfake.Fault
		stream bool // the stream took the batch
	}{
		"reply lost":               {"jobs.insert", bigqueryfake.LoseReply(), false},
		"connection cut":           {"jobs.insert", bigqueryfake.Cut(), false},
		"insert: 503":              {"jobs.insert", bigqueryfake.Refuse(503, "backendError", "no"), false},
		"insert: 409":              {"jobs.insert", bigqueryfake.Refuse(409, "duplicate", "no"), false}, // and there is no such job
		"insert: 429":              {"jobs.insert", bigqueryfake.Refuse(429, "rateLimitExceeded", "no"), true},
		"insert: quota":            {"jobs.insert", bigqueryfake.Quota("no"), true},
		"insert: not allowed":      {"jobs.insert", bigqueryfake.Refuse(403, "accessDenied", "no"), true},
		"look: 503":                {"jobs.get", bigqueryfake.Refuse(503, "backendError", "no"), false},
		"look: reply lost":         {"jobs.get", bigqueryfake.LoseReply(), false},
		"look: gone":               {"jobs.get", bigqueryfake.Refuse(404, "notFound", "no"), true}, // its rows are never read
		"job: quota":               {"job", bigqueryfake.FailJob("quotaExceeded", "no"), true},
		"job: error before":        {"job", bigqueryfake.FailJob("backendError", "no"), true},
		"job: error behind":        {"job", bigqueryfake.FailJobLate("backendError", "no"), true},
		"job: schema does not fit": {"job", bigqueryfake.FailJob("invalid", "no"), true},
		"job: never ends":          {"job", bigqueryfake.Hang(nil), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			p.stageSnapshotsByFile()
			of := newConsumer(t, p)
			of.snapshot = true
			if err := of.load(t, time.Minute); err != nil {
				t.Fatal(err)
			}
			if p.fake.Calls()["AppendRows"] != 0 {
				t.Fatal("the first load went by the stream")
			}
			if name == "job: never ends" {
				p.w.files.within = 3 * time.Second
			}
			p.fake.On(c.point, 1, c.fault)
			for of.head.Load < 3 {
				if err := of.load(t, time.Minute); err != nil {
					t.Fatalf("got %v; fired: %v", err, p.fake.Fired())
				}
			}
			if fired := p.fake.Fired(); len(fired) != 1 {
				t.Fatalf("fired: %v", fired)
			}
			of.check(t, 3)
			want := 0
			if c.stream {
				want = 2 // and for a while no other file is tried
			}
			if got := p.fake.Calls()["AppendRows"]; got != want {
				t.Errorf("%d requests to the stream, want %d", got, want)
			}
		})
	}
}

// The reply is lost, and the job is not seen at once: it is made again under its
// id, and found.
func TestFileIsAdopted(t *testing.T) {
	p := newProject(t)
	p.stageSnapshotsByFile()
	c := newConsumer(t, p)
	c.snapshot = true
	p.fake.On("jobs.insert", 1, bigqueryfake.LoseReply())
	p.fake.On("jobs.get", 1, bigqueryfake.Refuse(404, "notFound", "not yet"))
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	c.check(t, 1)
	if got := metric(t, p.w.metrics.adopted); got != 1 || len(p.fake.Fired()) != 2 {
		t.Errorf("adopted %v, fired %v", got, p.fake.Fired())
	}
}

// A file beyond one part is sent in several, of which each may be lost.
func TestFileInParts(t *testing.T) {
	slow(t)
	p := newProject(t)
	p.stageSnapshotsByFile()
	c, table := fixture(schemas.ModeMerge)
	if err := p.w.Ensure(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	tab, err := p.w.entry(table.Name)
	if err != nil {
		t.Fatal(err)
	}
	noise := rand.NewChaCha8([32]byte{1})
	rows := &listed{}
	const n = 10
	for i := range int64(n) {
		raw := make([]byte, 1<<20)
		_, _ = noise.Read(raw) // it never fails
		rows.folds = append(rows.folds, warehouse.Folded{Op: schemas.Read, Pos: at(1), Born: at(1)})
		rows.write = append(rows.write, func(s warehouse.Sink) { s.Int(0, i); s.Bytes(7, raw) })
	}
	b := &warehouse.Batch{Table: table, Rows: rows, Snapshotting: true, Counts: schemas.RowCounts{Read: n}}
	p.fake.On("jobs.upload", 2, bigqueryfake.Refuse(503, "backendError", "no"))
	s, err := p.w.stage(t.Context(), tab, c, b)
	if err != nil || s.rows != n || p.fake.Calls()["jobs.upload"] != 3 {
		t.Fatalf("%+v, %v, calls %v", s, err, p.fake.Calls())
	}
	count := func() any {
		return p.read(t, tab.name, "SELECT COUNT(*) AS n FROM "+p.w.dialect.Qualified(sqlgen.Schema, c.Staging())+"")[0][0]
	}
	if got := count(); got != int64(n) {
		t.Errorf("%v rows are staged", got)
	}
	// A value that no part may hold is met behind the first part: no job is made,
	// and the stream names it.
	rows.write[n-1] = func(s warehouse.Sink) { s.Int(0, 9); s.Bytes(1, []byte{0xff}) }
	var refused *warehouse.RowsError
	if _, err := p.w.stage(t.Context(), tab, c, b); !errors.As(err, &refused) || len(refused.Rows) != 1 || refused.Rows[0].Row != n-1 {
		t.Errorf("a value that does not fit: %v", err)
	}
	if got := count(); got != int64(n) {
		t.Errorf("%v rows are staged", got)
	}
}

// What only the service finds wrong with a value ends the job, and the stream
// names it (G12).
func TestFileThatTheServiceRefuses(t *testing.T) {
	p := newProject(t)
	p.stageSnapshotsByFile()
	c, table := fixture(schemas.ModeMerge)
	if err := p.w.Ensure(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	tab, err := p.w.entry(table.Name)
	if err != nil {
		t.Fatal(err)
	}
	rows := many(3)
	rows.write[1] = func(s warehouse.Sink) { s.Int(0, 2); s.Bytes(12, []byte("{")) }
	_, err = p.w.stage(t.Context(), tab, c, &warehouse.Batch{Table: table, Rows: rows, Snapshotting: true, Counts: schemas.RowCounts{Read: 3}})
	var refused *warehouse.RowsError
	if !errors.As(err, &refused) || len(refused.Rows) != 1 || refused.Rows[0].Row != 1 || refused.Rows[0].Column != "doc" || p.fake.Calls()["job"] == 0 {
		t.Errorf("got %v", err)
	}
}

// What is no snapshot's, small, or beyond the day's jobs goes by the stream.
func TestFilesAreWorthIt(t *testing.T) {
	slow(t)
	p := newProject(t)
	p.stageSnapshotsByFile()
	c := newConsumer(t, p)
	tab, err := p.w.entry(c.table.Name)
	if err != nil {
		t.Fatal(err)
	}
	jobs := func() int { return int(metric(t, p.w.metrics.stagedRows.WithLabelValues(byFile))) / perLoad }
	load := func(want int) {
		t.Helper()
		if err := c.load(t, time.Minute); err != nil || jobs() != want {
			t.Fatalf("%d files, want %d: %v", jobs(), want, err)
		}
	}
	load(0)
	c.snapshot = true
	load(1)
	p.w.files.least = 1000
	load(1)
	p.w.files.least = 200
	load(2)
	p.w.files.perDay = 2
	load(2)
	tab.files.day = tab.files.day.Add(-24 * time.Hour)
	load(3)
	tab.restFiles(time.Now().Add(time.Hour))
	load(3)
	c.check(t, 7)
}

func TestFilesOfADay(t *testing.T) {
	rules, now, tab := fileDefaults(), time.Unix(1_800_000_000, 0), &table{}
	var most int
	var made []time.Time
	for range 5000 { // one a minute, for three days and more
		now = now.Add(time.Minute)
		if tab.takeFile(rules, now) {
			made = append(made, now)
		}
		for len(made) > 0 && now.Sub(made[0]) >= 24*time.Hour {
			made = made[1:]
		}
		most = max(most, len(made))
	}
	if most < rules.perDay || most > 2*rules.perDay {
		t.Errorf("%d files in a day", most)
	}
}
