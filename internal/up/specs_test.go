package up

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestSpecsThatChangeAreTold(t *testing.T) {
	folder := fstest.MapFS{}
	put := func(name, text string) { folder[name] = &fstest.MapFile{Data: []byte(text)} }
	read := func() specTexts {
		texts, err := readSpecTexts(folder)
		if err != nil {
			t.Fatal(err)
		}
		return texts
	}
	put("team/a.yaml", "query: a.sql")
	put("team/a.sql", "SELECT 1")
	put("b.yaml", "query: SELECT 1")
	put("c.yml", "query: SELECT 1")
	put("README.md", "x")
	was := read()
	if now := read(); was.staleSpec(now, "team/a.yaml", "team/a.sql") != "" || was.newSpecs(now) != nil {
		t.Error("what did not change is told")
	}
	put("team/a.sql", "SELECT 2")
	put("b.yaml", "query: SELECT 2")
	put("d.yaml", "query: SELECT 1")
	put("d.sql", "SELECT 1")
	put("README.md", "y")
	delete(folder, "c.yml")
	now := read()
	for files, want := range map[string]string{
		"team/a.yaml team/a.sql": "its team/a.sql has changed: restart millrace",
		"b.yaml b.yaml":          "its b.yaml has changed: restart millrace",
		"c.yml":                  "its c.yml is gone",
	} {
		if got := was.staleSpec(now, strings.Fields(files)...); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", files, got, want)
		}
	}
	if got := was.newSpecs(now); !slices.Equal(got, []string{"the spec d.yaml is new: restart millrace to have its table computed"}) {
		t.Errorf("new: %q", got)
	}
}
