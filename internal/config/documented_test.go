package config_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"millrace/internal/config"
	"millrace/internal/invalid"
)

// nobody is what no field and no table is called.
const nobody = "qqqqqqqq"

// known asks the code for every field that it knows, by its path; where a person
// chooses a name, the path has an asterisk. A field that holds others is not among
// them.
func known(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	fields := map[string]bool{}
	var ask func(path []string)
	ask = func(path []string) {
		for _, under := range [][]string{{}, {nobody}, {nobody + ".t"}} { // what has fields, and what has names
			var b strings.Builder
			at := append(slices.Clone(path), under...)
			for i, name := range append(at, nobody) {
				fmt.Fprintf(&b, "%s%s:", strings.Repeat(" ", i), strings.Replace(name, "*", nobody, 1))
				if i < len(at) {
					b.WriteString("\n")
				}
				switch { // some fields are known to one kind alone
				case i == 0 && name == "warehouse":
					b.WriteString(" kind: bigquery\n")
				case i == 1 && at[0] == "sources" && len(at) > 2:
					b.WriteString("  kind: mongodb\n")
				}
			}
			b.WriteString(" 1\n")
			if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := config.Load(file, env)
			var faults invalid.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("%s: %v", b.String(), err)
			}
			place := strings.ReplaceAll(strings.Join(append(at, nobody), "."), "*", nobody)
			for _, f := range faults {
				list, ok := strings.CutPrefix(f.Cure, "known here are ")
				if f.Field != place || !ok || f.Problem != "is unknown" {
					continue
				}
				group := slices.Clone(path)
				for _, name := range under {
					group = append(group, strings.Replace(name, nobody, "*", 1))
				}
				delete(fields, strings.Join(path, "."))
				for field := range strings.SplitSeq(list, ", ") {
					fields[strings.Join(append(slices.Clone(group), field), ".")] = true
					ask(append(slices.Clone(group), field))
				}
				return
			}
		}
	}
	ask(nil)
	return slices.Sorted(maps.Keys(fields))
}

// Every field that the code knows has a line in docs/configuration.md, and the page
// tells of no other.
func TestFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		told = append(told, m[1])
	}
	slices.Sort(told)
	want := known(t)
	if len(want) < 40 {
		t.Errorf("the code knows only %q", want)
	}
	for _, field := range want {
		if !slices.Contains(told, field) {
			t.Errorf("%s is not documented", field)
		}
	}
	for _, field := range slices.Compact(told) {
		if !slices.Contains(want, field) {
			t.Errorf("the code knows no %s", field)
		}
	}
}
