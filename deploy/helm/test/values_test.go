package test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type schema struct {
	Description          string             `json:"description"`
	Ref                  string             `json:"$ref"`
	Defs                 map[string]*schema `json:"$defs"`
	Type                 any                `json:"type"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties any                `json:"additionalProperties"`
	Items                *schema            `json:"items"`
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartFolder, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// resolve follows a reference.
func (s *schema) resolve(t *testing.T, top *schema) *schema {
	t.Helper()
	if s.Ref == "" {
		return s
	}
	def := top.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
	if def == nil {
		t.Fatalf("%s refers to nothing", s.Ref)
	}
	return def
}

// Every value has a sentence in the schema, and groups of known values are closed:
// a slip is refused, not ignored.
func TestSchemaIsWhole(t *testing.T) {
	top := readSchema(t)
	var walk func(path string, s *schema)
	walk = func(path string, s *schema) {
		is := s.resolve(t, top)
		if d := s.Description + is.Description; path != "" && len(strings.Fields(d)) < 2 {
			t.Errorf("%s has no sentence: %q", path, d)
		}
		if is.Properties != nil {
			if open, _ := is.AdditionalProperties.(bool); is.AdditionalProperties == nil || open {
				if !strings.HasSuffix(path, ".env[]") { // Kubernetes' own shape
					t.Errorf("%s takes unknown values", path)
				}
			}
			for name, p := range is.Properties {
				walk(strings.TrimPrefix(path+"."+name, "."), p)
			}
		}
	}
	walk("", top)
	for name, def := range top.Defs {
		walk(name, def)
	}
}

// values.yaml shows every value that the schema knows, with its default, and no other.
func TestDefaultsShowEveryValue(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartFolder, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var shown map[string]any
	if err := yaml.UnmarshalStrict(text, &shown); err != nil {
		t.Fatal(err)
	}
	top := readSchema(t)
	var walk func(path string, s *schema, shown map[string]any)
	walk = func(path string, s *schema, shown map[string]any) {
		known := slices.Sorted(maps.Keys(s.resolve(t, top).Properties))
		for _, name := range known {
			at := strings.TrimPrefix(path+"."+name, ".")
			value, there := shown[name]
			if !there && at != "global" {
				t.Errorf("values.yaml does not show %s", at)
			}
			// An empty group is its own default.
			if group, ok := value.(map[string]any); ok && len(group) > 0 && s.resolve(t, top).Properties[name].resolve(t, top).Properties != nil {
				walk(at, s.resolve(t, top).Properties[name], group)
			}
		}
	}
	walk("", top, shown)
}

// What the documents show can be installed.
func TestDocumentsShowGoodValues(t *testing.T) {
	blocks := func(path string) (out []string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?ms)^ *```yaml\n(.*?)^ *```$").FindAllStringSubmatch(string(text), -1) {
			out = append(out, m[1])
		}
		return out
	}
	readme, kubernetes := blocks(filepath.Join(chartFolder, "README.md")), blocks("../../../docs/kubernetes.md")
	if len(readme) != 2 || len(kubernetes) != 2 {
		t.Fatalf("the documents have %d and %d examples", len(readme), len(kubernetes))
	}
	mustRender(t, readme[0], options{})
	indented := strings.ReplaceAll("\n"+readme[1], "\n  ", "\n") // it stands in a list
	mustRender(t, values(t, "minimal")+indented, options{}).find(t, "Deployment", "shop-millrace-derive-analytics--revenue")
	mustRender(t, values(t, "minimal")+kubernetes[0], options{}).find(t, "ScaledObject", "shop-millrace-consume-events")
	mustRender(t, values(t, "minimal")+"\nderived: {specs: {a.yaml: "+strconv.Quote("name: a.b\nquery: SELECT 1\n"+kubernetes[1])+"}}", options{})
}

// The values of the matrix leave none out: everything.yaml sets what can be set.
func TestEverythingSetsEveryValue(t *testing.T) {
	var set map[string]any
	if err := yaml.UnmarshalStrict([]byte(values(t, "everything")), &set); err != nil {
		t.Fatal(err)
	}
	for name := range readSchema(t).Properties {
		if _, is := set[name]; !is && name != "global" && name != "single" {
			t.Errorf("testdata/values/everything.yaml does not set %s", name)
		}
	}
}
