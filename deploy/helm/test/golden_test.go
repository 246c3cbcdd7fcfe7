package test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const shopSpecs = "../../../examples/shop/derived"

// chartWith is a copy of the chart whose folder specs/ is a copy of another.
func chartWith(t *testing.T, specs string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "millrace")
	if err := os.CopyFS(dir, os.DirFS(chartFolder)); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "specs")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, os.DirFS(specs)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// matrix is what everything that holds for every object is tested on.
func matrix(t *testing.T) map[string]rendered {
	t.Helper()
	out := map[string]rendered{}
	for _, name := range []string{"minimal", "everything", "single", "single-bigquery"} {
		out[name] = mustRender(t, values(t, name), options{})
	}
	out["folder-of-specs"] = mustRender(t, values(t, "minimal"), options{chart: chartWith(t, shopSpecs)})
	out["long-names"] = mustRender(t, longNames, options{release: "a-release-whose-name-is-as-long-as-helm-lets-it-be53"})
	out["many-specs"] = mustRender(t, values(t, "minimal")+specsOf(50), options{})
	return out
}

var longNames = `
kafka: {brokers: ["kafka:9092"]}
sources:
  ` + strings.Repeat("a", 47) + `_db: {kind: postgres, dsnSecret: {name: x}, tables: {public.t: {}}}
  trailing_: {kind: postgres, dsnSecret: {name: x}, tables: {public.u: {}}}
consume:
  groups:
    ` + strings.Repeat("g", 50) + `: {tables: [core.t]}
warehouse: {project: acme-data}
derived:
  specs:
    a.yaml: "name: ` + strings.Repeat("d", 60) + "." + strings.Repeat("t", 60) + `\nquery: SELECT 1 AS n FROM core.t"
    b.yaml: "name: ` + strings.Repeat("d", 60) + "." + strings.Repeat("t", 61) + `\nquery: SELECT 1 AS n FROM core.t"
`

// specsOf are values with n specs.
func specsOf(n int) string {
	var b strings.Builder
	b.WriteString("derived:\n  specs:\n")
	for i := range n {
		fmt.Fprintf(&b, "    t%d.yaml: |\n      name: analytics.t%d\n      query: SELECT %d AS n FROM core.orders\n", i, i, i)
	}
	return b.String()
}

func TestGoldens(t *testing.T) {
	for name, r := range matrix(t) {
		if name == "many-specs" { // says nothing that the others do not
			continue
		}
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			for _, o := range r.objects {
				fmt.Fprintf(&got, "---\n%s\n", o.text)
			}
			fmt.Fprintf(&got, "--- # NOTES.txt\n%s", strings.TrimLeft("# "+strings.ReplaceAll(strings.TrimSpace(r.notes), "\n", "\n# ")+"\n", "\n"))
			golden := filepath.Join("testdata", "golden", name+".yaml")
			if *update {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs from what the chart gives; if that is right, write it with: go test -run TestGoldens -update\n%s", golden, firstDifference(got.String(), string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is\n%s\nand was\n%s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, and there were %d", len(g), len(w))
}

// A folder of specs gives a pod for each, and no other file of it does.
func TestFolderOfSpecs(t *testing.T) {
	specs, err := fs.Glob(os.DirFS(shopSpecs), "*.yaml")
	if err != nil || len(specs) < 5 {
		t.Fatalf("the example has the specs %v, %v", specs, err)
	}
	r := mustRender(t, values(t, "minimal"), options{chart: chartWith(t, shopSpecs)})
	var derive []string
	for _, name := range r.names("Deployment") {
		if strings.HasPrefix(name, "shop-millrace-derive-") {
			derive = append(derive, name)
		}
	}
	if len(derive) != len(specs) {
		t.Errorf("%d specs give the Deployments %v", len(specs), derive)
	}
	r.find(t, "Deployment", "shop-millrace-derive-analytics--item-revenue-daily")
}
