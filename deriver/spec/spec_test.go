package spec

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", path, got, want)
	}
}

func parseFile(t *testing.T, path string) (*Spec, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, faults := Parse(filepath.Base(path), data, func(name string) ([]byte, error) {
		return os.ReadFile(filepath.Join(filepath.Dir(path), name))
	})
	return s, faults.Err()
}

func TestGood(t *testing.T) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		s, err := parseFile(t, file)
		if err != nil {
			t.Errorf("%s:\n%v", file, err)
			continue
		}
		zone := ""
		if s.Window != nil {
			zone = "\n" + s.Window.Grid.Zone.String()
		}
		text, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, strings.TrimSuffix(file, ".yaml")+".json", string(text)+zone+"\n")
	}
}

func TestBad(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		_, err := parseFile(t, file)
		if err == nil {
			t.Errorf("%s has no fault", file)
			continue
		}
		golden(t, strings.TrimSuffix(file, ".yaml")+".txt", err.Error()+"\n")
	}
}

func TestLoadFindsAllSpecsAndAllFaults(t *testing.T) {
	specs, faults, err := Load(os.DirFS("testdata"))
	if err != nil {
		t.Fatal(err)
	}
	good, _ := filepath.Glob("testdata/good/*.yaml")
	bad, _ := filepath.Glob("testdata/bad/*.yaml")
	files := make(map[string]bool)
	for _, f := range faults {
		files[f.File] = true
	}
	sound := slices.DeleteFunc(specs, func(s *Spec) bool { return s.Faulty })
	if len(sound) != len(good) || len(files) != len(bad) {
		t.Errorf("%d specs, faults in %d files; want %d and %d", len(sound), len(files), len(good), len(bad))
	}
}

func TestLinesOfFields(t *testing.T) {
	s, err := parseFile(t, "testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]int{
		"name": 1, "window.timezone": 11, "inputs.core.orders[1]": 20, "inputs.core.orders.what": 18, "nothing": 1,
	} {
		if got := s.Line(field); got != want {
			t.Errorf("line of %s: %d, want %d", field, got, want)
		}
	}
	if s.QueryLine != 29 || s.QueryFile != "full.yaml" {
		t.Errorf("the query is at %s:%d", s.QueryFile, s.QueryLine)
	}
}

// Whatever the bytes, Parse answers, and a spec without faults has all that
// the deriver counts on.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("a: &a [*a]\nlabels: *a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, faults := Parse("x.yaml", data, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
		if len(faults) > 0 {
			var unset error = faults
			if errors.Unwrap(unset) != nil || faults.Error() == "" {
				t.Fatal("a fault without words")
			}
			return
		}
		if s.Name == "" || s.Query == "" || s.Strategy == "" || s.Scope == "" || (s.Scope == ScopeWindow) != (s.Window != nil) {
			t.Fatalf("incomplete without a fault: %+v", s)
		}
	})
}
