package up

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"millrace/deriver/spec"
	"millrace/internal/page"
)

// specTexts are the files of a folder of specs, by name. They are read when the
// process starts; what becomes of them afterwards is only told.
type specTexts map[string]string

func readSpecTexts(folder fs.FS) (specTexts, error) {
	out := specTexts{}
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && spec.HiddenFolder(name, entry) {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".sql"}, path.Ext(name)) {
			return err
		}
		text, err := fs.ReadFile(folder, name)
		out[name] = string(text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the folder of specs: %w", err)
	}
	return out, nil
}

// staleSpec says that a spec is another one by now, in words that follow its
// table's name; empty: it is not.
func (was specTexts) staleSpec(now specTexts, files ...string) string {
	for _, name := range files {
		text, there := now[name]
		switch {
		case name == "":
		case !there:
			return "its " + name + " is gone from the folder: restart millrace to leave the table as it is"
		case text != was[name]:
			return "its " + name + " has changed: restart millrace to use it"
		}
	}
	return ""
}

// newSpecs are the specs that were not there.
func (was specTexts) newSpecs(now specTexts) (notes []string) {
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if _, known := was[name]; !known && path.Ext(name) != ".sql" {
			notes = append(notes, "the spec "+name+" is new: restart millrace to have its table computed")
		}
	}
	return notes
}

// compareSpecs marks the derived tables whose specs are others by now, and
// returns what else is to be said about the folder.
func (d *derivers) compareSpecs(tables []page.Derived) []string {
	now, err := readSpecTexts(os.DirFS(d.Config.Derived))
	if err != nil {
		return []string{"the specs cannot be compared with those on disk: " + err.Error()}
	}
	for i, s := range d.chosen { // the tables are in their order
		tables[i].Stale = d.texts.staleSpec(now, s.File, s.QueryFile)
	}
	if len(d.chosen) < len(d.specs) {
		return nil // whoever runs the others says what is new
	}
	return d.texts.newSpecs(now)
}
