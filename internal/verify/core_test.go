package verify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/internal/page"
	"millrace/internal/testkit"
)

// fake is a platform whose core table is what the test makes of it: the view
// and the table under it, complete through a position.
type fake struct {
	*Replica
	complete string
}

func (f *fake) Status(context.Context) (*page.Status, error) {
	return &page.Status{Core: []page.Core{{Table: "core.t", Complete: page.Progress{Pos: f.complete}}}}, nil
}

const (
	early = "00000001/0000000000000001/0000000000000001/00000001"
	late  = "00000001/FFFFFFFFFFFFFFF0/0000000000000001/00000001"
)

// loaded makes the platform's table from the source's rows, and spoils it.
func loaded(t *testing.T, source *Database, table Table, spoil string) *fake {
	t.Helper()
	f := &fake{newReplica(t), late}
	if _, err := source.Copy(t.Context(), f.Replica, table, "core.t"); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"CREATE SCHEMA millrace", "CREATE TABLE millrace.core__t__head AS SELECT 1 AS generation",
		"CREATE SCHEMA core__base", "CREATE TABLE core__base.t AS SELECT *, '" + early + "' AS _pos FROM core.t",
		"CREATE OR REPLACE VIEW core.t AS SELECT * EXCLUDE (_pos) FROM core__base.t", spoil,
	} {
		if err := f.exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestCore(t *testing.T) {
	for kind, server := range map[string]struct {
		dsn   func(testing.TB) string
		types string
		row   string // but for the key
	}{
		"postgres": {
			testkit.PostgresDatabase,
			"k text, id int, n numeric(30,4), x bytea, at timestamptz, local timestamp, d date, j jsonb, f float8, ok bool, u uuid, PRIMARY KEY (id, k)",
			`123456789012345.6789, '\x00ff', '2026-03-29 01:30:00.123456+01', '2026-03-29 02:30:00', '2024-02-29', '{"a": 1.10}', 0.1, true, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'`,
		},
		"mariadb": {
			testkit.MariaDBDatabase,
			"k varchar(20), id int, n decimal(30,4), x blob, at timestamp(6) NULL, local datetime, d date, j text, f double, ok tinyint, u bigint unsigned, PRIMARY KEY (id, k)",
			`123456789012345.6789, x'00ff', '2026-03-29 01:30:00.123456', '2026-03-29 02:30:00', '2024-02-29', '{"a": 1.10}', 0.1, 1, 18446744073709551615`,
		},
		"mysql": {
			testkit.MySQLDatabase,
			"k varchar(20), id int, n decimal(30,4), x blob, at timestamp(6) NULL, local datetime, d date, j text, f double, ok tinyint, u bigint unsigned, PRIMARY KEY (id, k)",
			`123456789012345.6789, x'00ff', '2026-03-29 01:30:00.123456', '2026-03-29 02:30:00', '2024-02-29', '{"a": 1.10}', 0.1, 1, 18446744073709551615`,
		},
	} {
		t.Run(kind, func(t *testing.T) {
			dsn := server.dsn(t)
			db := testkit.Open(t, dsn)
			table := "public.t"
			if kind != "postgres" {
				table = dsn[strings.LastIndexByte(dsn, '/')+1:] + ".t"
			}
			for _, statement := range []string{
				"CREATE TABLE t (" + server.types + ")",
				"INSERT INTO t VALUES ('é', 1, " + server.row + "), ('b', 2, " + server.row + "), ('c', 3, " + strings.Repeat("NULL, ", 8) + "NULL)",
			} {
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			source, err := OpenDatabase(kind, dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = source.Close() }()
			for spoil, want := range map[string]string{
				"SELECT 1":                                 "",
				"DELETE FROM core__base.t WHERE id = 2":    "missing",
				"UPDATE core__base.t SET n = n + 0.0001":   "differs differs",
				"UPDATE core__base.t SET x = NULL":         "differs differs",
				"INSERT INTO core__base.t (id) VALUES (9)": "extra",
				// What the source has no more is null in every row, or wrong.
				"ALTER TABLE core__base.t ADD COLUMN was INT; CREATE OR REPLACE VIEW core.t AS SELECT * EXCLUDE (_pos) FROM core__base.t":           "",
				"ALTER TABLE core__base.t ADD COLUMN was INT DEFAULT 1; CREATE OR REPLACE VIEW core.t AS SELECT * EXCLUDE (_pos) FROM core__base.t": "column",
				// The rows of a later generation are elsewhere.
				"ALTER TABLE core__base.t RENAME TO t__g2; CREATE OR REPLACE VIEW core.t AS SELECT * EXCLUDE (_pos) FROM core__base.t__g2; " +
					"UPDATE core__base.t__g2 SET n = 0, _pos = '" + late + "' WHERE id = 1; UPDATE millrace.core__t__head SET generation = 2": "differs",
				// It may be newer than what was read of the source, and stays so.
				"UPDATE core__base.t SET n = 0, _pos = '" + late + "' WHERE id = 1": "differs",
				"ALTER TABLE core__base.t ALTER n TYPE VARCHAR":                     "column",
			} {
				report, err := Core(t.Context(), loaded(t, source, Table{Name: table}, spoil), newReplica(t), source, Table{Name: table}, "core.t", nil)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, d := range report.Differences {
					got = append(got, string(d.Kind))
				}
				if strings.Join(got, " ") != want || report.Rows != 3 {
					t.Errorf("%s: got %v of %d rows, want %q", spoil, report.Differences, report.Rows, want)
				}
			}
		})
	}
}

// Who waits is told for what.
func TestWaitIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told []string
	p := &fake{newReplica(t), early}
	err := awaitComplete(ctx, of(p), "core.t", Mark{Major: 5}, func(sentence string) {
		told = append(told, sentence)
		cancel()
	})
	if !errors.Is(err, context.Canceled) || len(told) != 1 || !strings.HasPrefix(told[0], "core.t waits until") {
		t.Errorf("told %q, then %v", told, err)
	}
}

func TestReached(t *testing.T) {
	for _, c := range []struct {
		mark Mark
		pos  string
		want bool
	}{
		{Mark{Major: 5}, "00000001/0000000000000005/0000000000000000/00000000", true},
		{Mark{Major: 5}, "00000001/0000000000000004/FFFFFFFFFFFFFFFF/00000000", false},
		{Mark{Major: 2, Minor: 300}, "00000001/0000000000000002/000000000000012C/FFFFFFFF", true},
		{Mark{Major: 2, Minor: 300}, "00000001/0000000000000002/000000000000012B/FFFFFFFF", false},
		{Mark{Major: 2, Minor: 300}, "00000001/0000000000000003/0000000000000004/FFFFFFFF", true},
		{Mark{Major: 1}, "", false},
	} {
		if got, err := c.mark.Reached(c.pos); got != c.want || err != nil {
			t.Errorf("%v at %q: %v, %v", c.mark, c.pos, got, err)
		}
	}
	if _, err := (Mark{}).Reached("5"); err == nil {
		t.Error("a position that is none was accepted")
	}
}

// settledWorld is a world in which the derived table has absorbed its input.
type settledWorld struct {
	*world
	load int64 // of the input
	asks int
	busy int // how many loads come while the table is compared
	held int // windows
}

func (w *settledWorld) Status(context.Context) (*page.Status, error) {
	w.asks++
	if w.asks == 2 && w.busy > 0 {
		w.busy--
		w.load++
	}
	return &page.Status{
		Core: []page.Core{{Table: "core.payments", Load: w.load}},
		Derived: []page.Derived{{
			Table: "analytics.daily", Load: 1, Dirty: int64(w.held), Held: w.held, Error: "no such column", Drained: map[string]int64{"core.payments": w.load},
		}},
	}, nil
}

func TestDerivedIsRepeatedWhenALoadComesBetween(t *testing.T) {
	for _, busy := range []int{0, 1} {
		w := &settledWorld{world: newWorld(t), load: 3, busy: busy}
		payments, err := w.Replica.Query(t.Context(), "SELECT * FROM core.payments")
		if err != nil {
			t.Fatal(err)
		}
		w.platform.put(t, "core.payments", []column{
			{"id", "BIGINT"},
			{"order_id", "BIGINT"},
			{"amount", "DECIMAL(12,2)"},
			{"paid_at", "TIMESTAMP WITH TIME ZONE"},
		}, payments)
		w.platform.put(t, "analytics.daily", []column{{"day", "DATE"}, {"n", "BIGINT"}, {"revenue", "DECIMAL(38,2)"}},
			table("day n revenue", "", "2026-03-01 2 12.00", "2026-03-02 0 0.00", "2026-03-03 2 4.00"))
		for _, statement := range []string{
			"CREATE SCHEMA millrace",
			"CREATE TABLE millrace.analytics__daily__head AS SELECT TIMESTAMP '2026-03-01' AS window_begin, TIMESTAMP '2026-03-04' AS window_frontier",
		} {
			if err := w.platform.exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		report, err := Derived(t.Context(), w, newReplica(t), readText(t, daily), EventTimes{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Differences) != 1 || report.Differences[0].Kind != Differs || w.asks != 2+2*busy {
			t.Errorf("busy %d: %v after %d questions", busy, report.Differences, w.asks)
		}
	}
}

func TestHeldWindowsAreNotWaitedFor(t *testing.T) {
	w := &settledWorld{world: newWorld(t), load: 3, held: 2}
	_, err := Derived(t.Context(), w, newReplica(t), readText(t, daily), EventTimes{}, nil)
	if !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "2 are held: no such column") || w.asks != 1 {
		t.Errorf("%v after %d questions", err, w.asks)
	}
}

func TestReadSpecsReadsTheExamples(t *testing.T) {
	specs, err := ReadSpecs(filepath.Join("..", "..", "examples", "shop", "derived"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "examples", "shop", "derived", "*.yaml"))
	if err != nil || len(specs) != len(files) || len(files) == 0 {
		t.Fatalf("%d specs of %d files, %v", len(specs), len(files), err)
	}
	for _, s := range specs {
		if !strings.Contains(s.Name, "analytics.") || !strings.Contains(strings.ToUpper(s.Query), "SELECT") {
			t.Errorf("%s reads as %+v", s.Name, s)
		}
	}
}

func TestReadSpecsSaysWhichFileIsBad(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte("inputs: {core.t: {event_time: at, lookback: long}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSpecs(dir); err == nil || !strings.Contains(err.Error(), "bad.yaml") || !strings.Contains(err.Error(), `"long"`) {
		t.Errorf("got %v", err)
	}
}
