package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestArchitecture(t *testing.T) {
	faults, files, err := inspect(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("only %d files were read", files)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
}

// The rules are proved on a tree that breaks each of them.
func TestBrokenRulesAreNamed(t *testing.T) {
	got, _, err := inspect(filepath.Join("testdata", "bad"))
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "bad.golden"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(golden)), "\n")
	for _, fault := range got {
		if !slices.Contains(want, fault) {
			t.Errorf("unexpected: %s", fault)
		}
	}
	for _, fault := range want {
		if !slices.Contains(got, fault) {
			t.Errorf("not found: %s", fault)
		}
	}
}

func TestEveryClientHasAFixture(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "bad.golden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		if !strings.Contains(string(golden), "imports "+c.library) {
			t.Errorf("testdata/bad never imports %s", c.library)
		}
	}
}

// inspect reads every Go file of the module at root, and returns its faults
// and the number of files. Other modules inside it are not its own.
func inspect(root string) (faults []string, files int, err error) {
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && skipped(name, d) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		found, err := inspectFile(name, filepath.ToSlash(rel))
		faults = append(faults, found...)
		files++
		return err
	})
	return faults, files, err
}

func skipped(name string, d fs.DirEntry) bool {
	if d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	return err == nil
}

func inspectFile(name, rel string) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	dir, inTest := filepath.ToSlash(filepath.Dir(rel)), strings.HasSuffix(rel, "_test.go")
	var faults []string
	add := func(pos token.Pos, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s:%d: ", rel, fset.Position(pos).Line)+fmt.Sprintf(format, args...))
	}
	if fault := nameFault(dir, file.Name.Name); fault != "" {
		add(file.Name.Pos(), "%s", fault)
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if fault := importFault(dir, imported, inTest); fault != "" {
			add(spec.Pos(), "imports %s: %s", imported, fault)
		}
	}
	for _, decl := range file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			add(fn.Pos(), "init: nothing happens because a package is imported")
		}
	}
	return faults, nil
}
