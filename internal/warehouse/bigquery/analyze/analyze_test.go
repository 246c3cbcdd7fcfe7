package analyze

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-googlesql"
)

// reader analyzes statements one after the other, and knows the tables that
// they make.
type reader struct {
	opts     *googlesql.AnalyzerOptions
	types    *googlesql.TypeFactory
	catalog  *googlesql.SimpleCatalog
	datasets map[string]*googlesql.SimpleCatalog
	known    map[string]bool // tables
	keep     []any           // what the catalog refers to
}

func newReader(t *testing.T) *reader {
	t.Helper()
	if err := googlesql.Init(); err != nil {
		t.Fatal(err)
	}
	r := &reader{datasets: map[string]*googlesql.SimpleCatalog{}, known: map[string]bool{}}
	language, err := googlesql.NewLanguageOptions()
	check(t, err)
	check(t, language.EnableMaximumLanguageFeaturesForDevelopment())
	// What BigQuery does not have, or has not everywhere.
	for _, feature := range []googlesql.LanguageFeature{
		googlesql.LanguageFeatureFeatureArrayEquality, googlesql.LanguageFeatureFeatureGroupByArray, googlesql.LanguageFeatureFeatureGroupByStruct,
		googlesql.LanguageFeatureFeatureJsonTypeComparison,
	} {
		check(t, language.DisableLanguageFeature(feature))
	}
	check(t, language.SetSupportsAllStatementKinds())
	check(t, language.SetProductMode(googlesql.ProductModeProductExternal))
	r.catalog, err = googlesql.NewSimpleCatalog("project", nil)
	check(t, err)
	check(t, r.catalog.AddBuiltinFunctionsAndTypes(&googlesql.BuiltinFunctionOptions{LanguageOptions: language}))
	r.opts, err = googlesql.NewAnalyzerOptions2()
	check(t, err)
	check(t, r.opts.SetLanguage(language))
	r.types, err = googlesql.NewTypeFactory()
	check(t, err)
	integer, err := r.types.GetInt64()
	check(t, err)
	check(t, r.opts.AddSystemVariable([]string{"row_count"}, integer))
	return r
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type column struct {
	name string
	kind googlesql.Googlesql_TypeNode
}

// read analyzes one statement, and makes the table that it makes.
func (r *reader) read(statement string) error {
	out, err := googlesql.AnalyzeStatement(statement, r.opts, r.catalog, r.types)
	if err != nil {
		return err
	}
	r.keep = append(r.keep, out)
	resolved, err := out.ResolvedStatement()
	if err != nil {
		return err
	}
	switch s := resolved.(type) {
	case *googlesql.ResolvedCreateTableStmt:
		return r.define(s, s)
	case *googlesql.ResolvedCreateTableAsSelectStmt:
		return r.define(s, s)
	case *googlesql.ResolvedCreateViewStmt:
		path, err := s.NamePath()
		if err != nil {
			return err
		}
		outputs, err := s.OutputColumnList()
		if err != nil {
			return err
		}
		var columns []column
		for _, o := range outputs {
			c, err := o.Column()
			if err != nil {
				return err
			}
			name, err := o.Name()
			if err != nil {
				return err
			}
			kind, err := c.Type()
			if err != nil {
				return err
			}
			columns = append(columns, column{name, kind})
		}
		return r.add(path, columns)
	}
	return nil
}

type named interface{ NamePath() ([]string, error) }

type defined interface {
	ColumnDefinitionList() ([]*googlesql.ResolvedColumnDefinition, error)
}

func (r *reader) define(n named, d defined) error {
	path, err := n.NamePath()
	if err != nil {
		return err
	}
	defs, err := d.ColumnDefinitionList()
	if err != nil {
		return err
	}
	var columns []column
	for _, def := range defs {
		name, err := def.Name()
		if err != nil {
			return err
		}
		kind, err := def.Type()
		if err != nil {
			return err
		}
		columns = append(columns, column{name, kind})
	}
	return r.add(path, columns)
}

// add makes a table known. One that is there already, and is made again only if
// it is missing or as it was, stays.
func (r *reader) add(path []string, columns []column) error {
	name := path[len(path)-1]
	full := strings.Join(path, ".")
	if r.known[full] {
		return nil
	}
	r.known[full] = true
	table, err := googlesql.NewSimpleTable(name, 0)
	if err != nil {
		return err
	}
	r.keep = append(r.keep, table)
	for _, c := range columns {
		col, err := googlesql.NewSimpleColumn(name, c.name, c.kind, false, true)
		if err != nil {
			return err
		}
		r.keep = append(r.keep, col)
		if err := table.AddColumn2(col, false); err != nil {
			return err
		}
	}
	catalog := r.catalog
	if len(path) == 2 {
		if catalog = r.datasets[path[0]]; catalog == nil {
			if catalog, err = googlesql.NewSimpleCatalog(path[0], r.types); err != nil {
				return err
			}
			if err := r.catalog.AddCatalog(catalog); err != nil {
				return err
			}
			r.datasets[path[0]] = catalog
		}
	}
	return catalog.AddTable(table)
}

// file analyzes all statements of a text. The sections of a golden file that
// begin with DECLARE are scripts, whose temporary tables are theirs alone: the
// second of them is read with other names for those.
func (r *reader) file(t *testing.T, text string) (statements int) {
	t.Helper()
	vars, scripts := map[string]string{}, 0
	for _, s := range split(text) {
		if strings.HasPrefix(s, "DECLARE n_") {
			scripts++
		}
		for _, p := range plain(s, vars) {
			for _, temp := range []string{"millrace_stage", "millrace_effect", "taken"} {
				p = strings.ReplaceAll(p, temp, fmt.Sprintf("%s_%d", temp, scripts))
			}
			statements++
			if err := r.read(p); err != nil {
				t.Errorf("%v, in\n%s", err, p)
			}
		}
	}
	return statements
}

func TestEveryStatementIsGoogleSQL(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "sqlgen", "testdata", "bigquery", "*.sql"))
	check(t, err)
	if len(files) < 6 {
		t.Fatalf("only %d files", len(files))
	}
	// What the deriver makes of each example's query, with its tables.
	files = append(files, filepath.Join("..", "..", "..", "..", "deriver", "strategy", "testdata", "bigquery.sql"))
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			check(t, err)
			if n := newReader(t).file(t, string(text)); n < 10 {
				t.Errorf("only %d statements", n)
			}
		})
	}
}

func TestEveryExampleIsGoogleSQL(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "..", "examples", "*", "derived", "*.sql"))
	check(t, err)
	if len(files) == 0 {
		t.Fatal("no examples")
	}
	r := newReader(t)
	tables, err := os.ReadFile(filepath.Join("testdata", "shop.sql"))
	check(t, err)
	r.file(t, string(tables))
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(t, err)
		if err := r.read(string(text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// The deriver relies on it that a null of a union has the type of its other part:
// so it names columns whose types it does not know.
func TestNullsOfAUnionHaveItsType(t *testing.T) {
	check(t, newReader(t).read("SELECT q.name || 'x', DATE_ADD(q.day, INTERVAL 1 DAY) FROM (SELECT NULL AS name, NULL AS day UNION ALL (\nSELECT * FROM (SELECT upper('x'), DATE '2024-01-01')\n)) AS q"))
}

// What is not GoogleSQL, or of another type, is seen.
func TestFaultsAreSeen(t *testing.T) {
	r := newReader(t)
	r.file(t, "CREATE TABLE core.t (a INT64, b STRING, j JSON, l ARRAY<INT64>, s STRUCT<a INT64, b ARRAY<STRING>>);")
	for _, bad := range []string{
		"SELECT c FROM core.t", "SELECT a FROM core.nowhere", "SELECT a = b FROM core.t", "SELECT a::STRING FROM core.t",
		"SELECT 1 WHERE TRUE", "UPDATE core.t SET a = 'x' WHERE TRUE", "DELETE FROM core.t",
		"INSERT INTO core.t (a) SELECT b FROM core.t",
		"SELECT DISTINCT j FROM core.t", "SELECT DISTINCT l FROM core.t", "SELECT DISTINCT s FROM core.t", "SELECT l FROM core.t GROUP BY l",
		"SELECT 1 FROM core.t AS x JOIN core.t AS y ON x.l = y.l", "SELECT 1 FROM core.t AS x JOIN core.t AS y ON x.s = y.s", "SELECT 1 FROM core.t AS x JOIN core.t AS y ON x.j = y.j",
		"SELECT l FROM core.t EXCEPT DISTINCT SELECT l FROM core.t",
	} {
		if err := r.read(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
