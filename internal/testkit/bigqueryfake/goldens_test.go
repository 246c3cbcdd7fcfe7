package bigqueryfake_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
)

var (
	// goldenHead is where a statement expects a head to be.
	goldenHead = regexp.MustCompile("(`millrace`\\.`[^`]+__head`)[^;]*?WHERE epoch = (\\d+)(?: AND load = (\\d+)( - 1)?)?(?: AND code_hash = '(\\w+)')?")
	// goldenStaging is the definition of a staging table, goldenBatch the rows of it
	// that a load takes.
	goldenStaging = regexp.MustCompile("CREATE TABLE IF NOT EXISTS (`millrace`\\.`[^`]+__stage_\\w+`) \\(v0 (\\w+)[^;]*?\\)\nPARTITION")
	goldenBatch   = regexp.MustCompile("FROM (`millrace`\\.`[^`]+__stage_\\w+`)\nWHERE _batch = '([^']+)' AND _staged_at = (TIMESTAMP_MICROS\\(\\d+\\))")
	goldenStaged  = regexp.MustCompile(`FROM millrace_stage\) = (\d+) AS`)
)

// TestGoldensRun runs every statement that package sqlgen writes for BigQuery, and
// what the deriver asks for the examples, as golden files have them: a job stands before each empty line. So the texts,
// the analyzer that reads the same files and this fake know one language.
func TestGoldensRun(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: every statement takes some seconds")
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "warehouse", "sqlgen", "testdata", "bigquery", "*.sql"))
	if err != nil || len(files) < 6 {
		t.Fatalf("%d golden files: %v", len(files), err)
	}
	files = append(files, filepath.Join("..", "..", "..", "deriver", "strategy", "testdata", "bigquery.sql"))
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b := setup(t, bigqueryfake.Options{})
			b.fake.Skew(time.Until(time.UnixMicro(1_700_000_000_000_000))) // when the rows were staged: they expire
			for _, dataset := range []string{"millrace", "millrace_scratch", "core", "core__base", "analytics"} {
				b.do("CREATE SCHEMA IF NOT EXISTS " + dataset)
			}
			staging := map[string]string{} // the first column's type
			for _, m := range goldenStaging.FindAllStringSubmatch(string(text), -1) {
				staging[m[1]] = m[2]
			}
			for _, job := range strings.Split(strings.TrimSpace(string(text)), ";\n\n") {
				b.moveHeads(job)
				staged := b.stageGolden(job, staging)
				rows, err := b.try(job)
				if err != nil {
					t.Errorf("%v, in\n%s", err, job)
					continue
				}
				if want := fmt.Sprintf(`"applied":%d,`, staged); staged > 0 && !strings.Contains(fmt.Sprint(rows), want) {
					t.Errorf("the load gives %v, want %s", rows, want)
				}
			}
		})
	}
}

// moveHeads puts heads where the job expects them.
func (b *bench) moveHeads(job string) {
	b.Helper()
	for _, m := range goldenHead.FindAllStringSubmatch(job, -1) {
		set := []string{"epoch = " + m[2]}
		if m[3] != "" {
			set = append(set, "load = "+m[3]+m[4])
		}
		if m[5] != "" {
			set = append(set, "code_hash = '"+m[5]+"'")
		}
		b.do(fmt.Sprintf("UPDATE %s SET %s WHERE TRUE", m[1], strings.Join(set, ", ")))
	}
}

// stageGolden writes the rows that a load takes, which are newer than all that is there,
// and returns how many.
func (b *bench) stageGolden(job string, staging map[string]string) (n int) {
	b.Helper()
	batch, count := goldenBatch.FindStringSubmatch(job), goldenStaged.FindStringSubmatch(job)
	if batch == nil || count == nil {
		return 0
	}
	if _, err := fmt.Sscan(count[1], &n); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		b.do(fmt.Sprintf("INSERT INTO %s (v0, op, pos, _batch, _staged_at) VALUES (CAST('%d' AS %s), 'r', '00000002/%d', '%s', %s)",
			batch[1], i+1, staging[batch[1]], i, batch[2], batch[3]))
	}
	return n
}
