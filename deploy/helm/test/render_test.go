package test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const chartFolder = "../millrace"

// options is what an installer says beside the values.
type options struct {
	chart    string // its folder; empty: the one of this repository
	release  string
	revision int
}

// rendered is what the chart gives for some values.
type rendered struct {
	notes   string
	objects []object
}

// object is one document, as text and by its name.
type object struct {
	apiVersion, kind, name string
	text                   []byte // YAML
}

// render renders the chart as `helm template` does: values onto the chart's own,
// checked by values.schema.json, through Helm's engine.
func render(values string, o options) (rendered, error) {
	if o.chart == "" {
		o.chart = chartFolder
	}
	if o.release == "" {
		o.release = "shop"
	}
	chart, err := loader.Load(o.chart)
	if err != nil {
		return rendered{}, err
	}
	own, err := loader.LoadValues(strings.NewReader(values))
	if err != nil {
		return rendered{}, err
	}
	caps := common.DefaultCapabilities.Copy()
	caps.KubeVersion = common.KubeVersion{Version: "v1.33.0", Major: "1", Minor: "33"}
	top, err := util.ToRenderValues(chart, own, common.ReleaseOptions{
		Name: o.release, Namespace: "data", Revision: max(o.revision, 1), IsInstall: true,
	}, caps)
	if err != nil {
		return rendered{}, err
	}
	files, err := engine.Render(chart, top)
	if err != nil {
		return rendered{}, err
	}
	var out rendered
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch {
		case strings.HasSuffix(name, "NOTES.txt"):
			out.notes = files[name]
		case filepath.Ext(name) == ".yaml":
			if out.objects, err = appendObjects(out.objects, files[name]); err != nil {
				return rendered{}, err
			}
		}
	}
	return out, nil
}

func appendObjects(objects []object, text string) ([]object, error) {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		var head struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
		}
		if err := yaml.Unmarshal(document, &head); err != nil {
			return nil, err
		}
		if head.Kind != "" {
			objects = append(objects, object{head.APIVersion, head.Kind, head.Metadata.Name, bytes.TrimSpace(document)})
		}
	}
}

// mustRender renders values that are good.
func mustRender(t *testing.T, values string, o options) rendered {
	t.Helper()
	r, err := render(values, o)
	if err != nil {
		t.Fatalf("render: %v", err)
	}
	return r
}

// values is a file of testdata/values.
func values(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "values", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// find is the one object of the kind and the name.
func (r rendered) find(t *testing.T, kind, name string) object {
	t.Helper()
	for _, o := range r.objects {
		if o.kind == kind && o.name == name {
			return o
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return object{}
}

// names are the names of the objects of a kind, in their order.
func (r rendered) names(kind string) []string {
	var out []string
	for _, o := range r.objects {
		if o.kind == kind {
			out = append(out, o.name)
		}
	}
	return out
}
