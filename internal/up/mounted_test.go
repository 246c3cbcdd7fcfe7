package up

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"millrace/deriver/spec"
	"millrace/internal/verify"
)

// A mounted ConfigMap has its files in a hidden folder, and links to them beside
// it: each spec is there once.
func TestSpecsOfAMountedConfigMap(t *testing.T) {
	folder := t.TempDir()
	hidden := "..2026_11_23_20_00_00.123456789"
	if err := os.Mkdir(filepath.Join(folder, hidden), 0o755); err != nil {
		t.Fatal(err)
	}
	link := func(to, name string) {
		if err := os.Symlink(to, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	link(hidden, "..data")
	for name, text := range map[string]string{
		"orders.yaml": "name: analytics.orders\nquery: orders.sql\n",
		"orders.sql":  "SELECT 1 AS one FROM core.orders\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, hidden, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		link(filepath.Join("..data", name), name)
	}

	specs, faults, err := spec.Load(os.DirFS(folder))
	if err != nil || len(faults) > 0 || len(specs) != 1 || specs[0].File != "orders.yaml" || specs[0].QueryFile != "orders.sql" {
		t.Errorf("the specs are %v, %v, %v", specs, faults, err)
	}
	texts, err := readSpecTexts(os.DirFS(folder))
	if got := slices.Sorted(maps.Keys(texts)); err != nil || !slices.Equal(got, []string{"orders.sql", "orders.yaml"}) {
		t.Errorf("the texts are %v, %v", got, err)
	}
	verified, err := verify.ReadSpecs(folder)
	if err != nil || len(verified) != 1 {
		t.Errorf("verify reads %d specs, %v", len(verified), err)
	}
}
