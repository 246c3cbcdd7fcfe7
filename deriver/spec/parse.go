package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"millrace/internal/invalid"
	"millrace/schemas"
)

// Load reads every *.yaml and *.yml file below the root of fsys, and the SQL
// files beside them; it does not look into hidden folders. It returns the specs
// with all their faults; one that has any is marked as Faulty.
func Load(fsys fs.FS) ([]*Spec, invalid.Faults, error) {
	var specs []*Spec
	var faults invalid.Faults
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && HiddenFolder(name, entry) {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() || (path.Ext(name) != ".yaml" && path.Ext(name) != ".yml") {
			return err
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		s, found := Parse(name, data, func(file string) ([]byte, error) {
			return fs.ReadFile(fsys, path.Join(path.Dir(name), file))
		})
		s.Faulty = len(found) > 0
		specs = append(specs, s)
		faults = append(faults, found...)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the folder of specs: %w", err)
	}
	return specs, faults, nil
}

// HiddenFolder says that an entry of a folder of specs is a folder that is not
// looked into. A mounted ConfigMap has each file twice: as a link, and in a hidden
// folder, to which the links lead.
func HiddenFolder(name string, entry fs.DirEntry) bool {
	return entry.IsDir() && name != "." && strings.HasPrefix(path.Base(name), ".")
}

// Parse reads one spec. read gives the file that query names. A spec with
// faults is not to be used.
func Parse(file string, data []byte, read func(name string) ([]byte, error)) (*Spec, invalid.Faults) {
	p := &parser{reader: reader{file: file, lines: make(map[string]int)}, read: read}
	p.spec = &Spec{File: file, lines: p.lines}
	var doc yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(data))
	if err := in.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		line, text := yamlError(err)
		p.fault(line, "", "is not YAML: "+text, "mend the YAML")
		return p.spec, p.faults
	}
	p.alone(in)
	if len(doc.Content) == 0 {
		p.fault(1, "", "is empty", "a spec has at least a name and a query")
		return p.spec, p.faults
	}
	p.document(doc.Content[0])
	return p.spec, p.faults
}

// alone refuses what stands in the file behind its first document.
func (p *parser) alone(in *yaml.Decoder) {
	for {
		var more yaml.Node
		switch err := in.Decode(&more); {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			line, text := yamlError(err)
			p.fault(line, "", "is not YAML: "+text, "mend the YAML")
			return
		case len(more.Content) > 0 && more.Content[0].Tag != "!!null":
			p.fault(more.Content[0].Line, "", "holds a second document, and a file is one spec", "move what is behind the line --- into a file of its own")
			return
		}
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

func yamlError(err error) (line int, text string) {
	text = strings.ReplaceAll(err.Error(), "\n", " ")
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		if m[1] != "" {
			_, _ = fmt.Sscan(m[1], &line)
		}
		text = m[2]
	}
	return line, text
}

// parser fills a spec from the nodes of its file.
type parser struct {
	reader
	spec    *Spec
	read    func(string) ([]byte, error)
	dataset string
	begins  int // how often begin was given
}

// fields are the fields of a spec, in the order of the documentation.
var fields = []string{
	"name", "dataset", "owner", "description", "strategy", "scope", "unique_key", "window", "begin", "schedule",
	"freshness", "complete", "inputs", "query", "columns", "audits", "partition_by", "cluster_by", "version",
	"labels", "access", "pod", "params", "tests", "batch",
}

func (p *parser) document(root *yaml.Node) {
	s := p.spec
	s.Schedule.OnLoad = true
	p.entries(root, "", fields, func(key string, _ int, n *yaml.Node) {
		switch key {
		case "name":
			s.Name = p.text(n, key)
		case "dataset":
			p.dataset = p.text(n, key)
		case "owner":
			s.Owner = p.text(n, key)
		case "description":
			s.Description = p.text(n, key)
		case "strategy":
			s.Strategy = schemas.Mode(p.oneOf(n, key, "replace", "merge", "append"))
		case "scope":
			s.Scope = Scope(p.oneOf(n, key, "window", "keys", "table", "rows"))
		case "unique_key":
			s.UniqueKey = p.names(n, key)
		case "window":
			p.window(n)
		case "begin":
			p.begin(n, key)
		case "schedule":
			p.schedule(n)
		case "freshness":
			p.freshness(n)
		case "complete":
			s.Complete = p.boolean(n, key)
		case "inputs":
			p.inputs(n)
		case "query":
			p.query(n)
		case "columns":
			p.columns(n)
		case "audits":
			p.audits(n)
		case "partition_by":
			s.PartitionBy = p.text(n, key)
		case "cluster_by":
			s.ClusterBy = p.names(n, key)
		case "version":
			s.Version = p.text(n, key)
		case "labels":
			s.Labels = p.labels(n, key)
		case "pod":
			p.pod(n)
		case "access":
			p.access(n)
		case "params", "tests", "batch":
			p.notYet(n.Line, key)
		}
	})
	p.identity(root)
	if s.Query == "" && p.lines["query"] == 0 {
		p.fault(root.Line, "query", "is missing", "write the SQL, or the name of a .sql file beside the spec")
	}
	// A word that is not known may be the one that the rest depends on.
	if !slices.ContainsFunc(p.faults, func(f invalid.Fault) bool {
		return f.Problem == unknownField && !strings.Contains(f.Field, ".") || slices.Contains([]string{"strategy", "scope", "unique_key"}, f.Field)
	}) {
		p.combine()
	}
}

// notYet refuses what a later version will take.
func (p *parser) notYet(line int, field string) {
	p.fault(line, field, "is not supported yet", "leave it out")
}

// identifier is a name that needs no quotes in any warehouse.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// reserved are datasets that are not the teams'.
var reserved = []string{"core", "core__base", "millrace", "main", "temp", "system", "warehouse", "information_schema", "pg_catalog"}

func (p *parser) identity(root *yaml.Node) {
	s := p.spec
	line := p.lines["name"]
	if s.Name == "" {
		if line == 0 {
			p.fault(root.Line, "name", "is missing", "write dataset.table")
		}
		return
	}
	dataset, table, dotted := strings.Cut(s.Name, ".")
	if !dotted && p.dataset != "" {
		dataset, table = p.dataset, s.Name
		s.Name = dataset + "." + table
	}
	switch {
	case !identifier.MatchString(dataset) || !identifier.MatchString(table):
		p.fault(line, "name", fmt.Sprintf("%q is not dataset.table", s.Name), "write two names of letters, digits and _ with a dot between")
	case p.dataset != "" && p.dataset != dataset:
		p.fault(p.lines["dataset"], "dataset", fmt.Sprintf("%q differs from the dataset of name %q", p.dataset, s.Name), "leave dataset out, or make them agree")
	case slices.Contains(reserved, strings.ToLower(dataset)):
		p.fault(line, "name", fmt.Sprintf("the dataset %q is not for derived tables", dataset), "choose another dataset, such as analytics")
	case strings.Contains(s.Name, "__"):
		p.fault(line, "name", fmt.Sprintf("%q has two underscores in a row, which the platform keeps for its own tables", s.Name), "use one underscore")
	}
}

func (p *parser) oneOf(n *yaml.Node, field string, words ...string) string {
	word := p.text(n, field)
	if word == "" || slices.Contains(words, word) {
		return word
	}
	p.fault(n.Line, field, fmt.Sprintf("%q is not known", word), "write one of "+strings.Join(words, ", "))
	return ""
}

// names takes a list of column names.
func (p *parser) names(n *yaml.Node, field string) []string {
	return p.texts(n, field)
}

func (p *parser) query(n *yaml.Node) {
	text := p.text(n, "query")
	if text == "" {
		return
	}
	s := p.spec
	if strings.HasSuffix(strings.TrimSpace(text), ".sql") && !strings.ContainsAny(strings.TrimSpace(text), " \n\t") {
		p.queryFile(n.Line, strings.TrimSpace(text))
		return
	}
	s.Query, s.QueryFile, s.QueryLine = text, s.File, n.Line
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		s.QueryLine++
	}
}

func (p *parser) queryFile(line int, name string) {
	s := p.spec
	if !fs.ValidPath(name) {
		p.fault(line, "query", fmt.Sprintf("%q is not a file beside the spec", name), "name a .sql file in the spec's folder or below it")
		return
	}
	data, err := p.read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.fault(line, "query", fmt.Sprintf("the file %q is not there", name), "put it beside the spec")
	case err != nil:
		p.fault(line, "query", fmt.Sprintf("the file %q cannot be read: %v", name, err), "make it readable")
	case strings.TrimSpace(string(data)) == "":
		p.fault(line, "query", fmt.Sprintf("the file %q is empty", name), "write the SQL into it")
	default:
		s.Query, s.QueryFile, s.QueryLine = string(data), path.Join(path.Dir(s.File), name), 1
	}
}

func (p *parser) columns(n *yaml.Node) {
	p.items(n, "columns", func(i int, item *yaml.Node) {
		var c Column
		at := fmt.Sprintf("columns[%d]", i)
		p.entries(item, at, []string{"name", "type", "required", "description"}, func(key string, _ int, v *yaml.Node) {
			switch field := join(at, key); key {
			case "name":
				c.Name = p.text(v, field)
			case "type":
				text := p.text(v, field)
				t, ok := parseType(text)
				if !ok && text != "" {
					p.fault(v.Line, field, fmt.Sprintf("%q is not a type", text), "write one of "+typeNames)
				}
				c.Type = t
			case "required":
				c.Required = p.boolean(v, field)
			case "description":
				c.Description = p.text(v, field)
			}
		})
		if item.Kind == yaml.MappingNode {
			if p.lines[join(at, "name")] == 0 {
				p.fault(item.Line, at+".name", "is missing", "name the column")
			}
			if p.lines[join(at, "type")] == 0 {
				p.fault(item.Line, at+".type", "is missing", "write one of "+typeNames)
			}
		}
		if c.Name != "" && slices.ContainsFunc(p.spec.Columns, func(o Column) bool { return strings.EqualFold(o.Name, c.Name) }) {
			p.fault(item.Line, at, fmt.Sprintf("the column %q is there twice", c.Name), "keep one of them")
		}
		p.spec.Columns = append(p.spec.Columns, c)
	})
}

const typeNames = "BOOL, INT64, FLOAT64, DECIMAL(p,s), STRING, BYTES, DATE, TIME, TIMESTAMP, DATETIME, JSON"

var decimal = regexp.MustCompile(`^(?:DECIMAL|NUMERIC)\(\s*(\d{1,3})\s*(?:,\s*(\d{1,3})\s*)?\)$`)

func parseType(text string) (schemas.Type, bool) {
	text = strings.ToUpper(strings.TrimSpace(text))
	for kind := schemas.Bool; kind <= schemas.JSON; kind++ {
		if kind != schemas.Decimal && kind.String() == text {
			return schemas.Type{Kind: kind}, true
		}
	}
	m := decimal.FindStringSubmatch(text)
	if m == nil {
		return schemas.Type{}, false
	}
	t := schemas.Type{Kind: schemas.Decimal}
	_, _ = fmt.Sscan(m[1], &t.Precision)
	if m[2] != "" {
		_, _ = fmt.Sscan(m[2], &t.Scale)
	}
	return t, t.Precision > 0 && t.Scale <= t.Precision
}

func (p *parser) audits(n *yaml.Node) {
	p.items(n, "audits", func(i int, item *yaml.Node) {
		at := fmt.Sprintf("audits[%d]", i)
		p.entries(item, at, []string{string(NotNull), string(Unique)}, func(key string, line int, v *yaml.Node) {
			field := join(at, key)
			p.lines[field] = line
			p.spec.Audits = append(p.spec.Audits, Audit{AuditKind(key), p.names(v, field), field})
		})
	})
}

func (p *parser) labels(n *yaml.Node, field string) map[string]string {
	out := make(map[string]string)
	p.entries(n, field, nil, func(key string, _ int, v *yaml.Node) { out[key] = p.text(v, join(field, key)) })
	return out
}

func (p *parser) access(n *yaml.Node) {
	p.spec.Access = make(map[string][]string)
	p.entries(n, "access", []string{"readers"}, func(key string, _ int, v *yaml.Node) {
		p.spec.Access[key] = p.texts(v, join("access", key))
	})
}
