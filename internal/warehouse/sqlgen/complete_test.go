package sqlgen

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Functions that give text and have no place in the goldens of BigQuery, by why.
var (
	// words, of which statements are made.
	words = strings.Fields("Ident Type Text Qualified View Base Head Loads Changes Needs Dirty Stage Effect Diff Fresh Keys Marks Staging " +
		"Own String BaseDataset BaseTable UnsetName ParseUnset HeadOf BareType Bind StageColumns Layout Remade KeyList")
	// DuckDB is told these alone: its loads and runs are no scripts.
	duckOnly = strings.Fields("AddColumn AddImageColumn CaptureKeys ClearKeys ClearWindow Compare CreateKeys Differences DropColumn DropRun " +
		"DropTemp FillStage CreateStage InsertDerivedHead InsertHead MarkKeys OwnedByKeys Refused Repeated Replace AddRunImage " +
		"AppendRows KeepRunChanges RunBuckets StagePart Examine")
)

// TestGoldensAreComplete: each exported function that writes SQL is called, by
// whatever way, where the goldens of BigQuery are made, so that the analyzer and
// the fake read what it writes. Methods are told apart by name alone.
func TestGoldensAreComplete(t *testing.T) {
	calls, writers := map[string][]string{}, map[string]bool{}
	files, err := parser.ParseDir(token.NewFileSet(), ".", func(fs.FileInfo) bool { return true }, 0) //nolint:staticcheck // one folder, no build tags
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range files["sqlgen"].Files {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if !strings.HasSuffix(name, "_test.go") && f.Name.IsExported() && givesText(f) {
				writers[f.Name.Name] = true
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					calls[f.Name.Name] = append(calls[f.Name.Name], n.Sel.Name)
				case *ast.Ident:
					calls[f.Name.Name] = append(calls[f.Name.Name], n.Name)
				}
				return true
			})
		}
	}
	reached := map[string]bool{}
	var reach func(name string)
	reach = func(name string) {
		if reached[name] || slices.Contains(duckOnly, name) {
			return
		}
		reached[name] = true
		for _, called := range calls[name] {
			reach(called)
		}
	}
	for name := range calls {
		if strings.HasPrefix(name, "TestGoldenBigQuery") {
			reach(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(writers)) {
		if !reached[name] && !slices.Contains(words, name) && !slices.Contains(duckOnly, name) {
			t.Errorf("%s is in no golden file of BigQuery", name)
		}
	}
	for _, name := range slices.Concat(words, duckOnly) {
		if !writers[name] {
			t.Errorf("%s is excused, and there is no such function", name)
		}
	}
}

// givesText reports whether the first result is a text or a list of texts.
func givesText(f *ast.FuncDecl) bool {
	if f.Type.Results == nil {
		return false
	}
	typ := f.Type.Results.List[0].Type
	if list, ok := typ.(*ast.ArrayType); ok {
		typ = list.Elt
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.Name == "string"
}
