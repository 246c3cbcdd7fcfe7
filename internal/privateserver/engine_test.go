package privateserver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLocateTakesTheGreatestVersion(t *testing.T) {
	root := t.TempDir()
	t.Setenv("PATH", filepath.Join(root, "nothing"))
	for _, version := range []string{"9", "15", "13"} {
		bin := filepath.Join(root, version, "bin")
		if err := os.MkdirAll(bin, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "serverd"), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	got, err := locate("serverd", "server", filepath.Join(root, "*", "bin"))
	if want := filepath.Join(root, "15", "bin", "serverd"); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestLocateNamesThePackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := locate("serverd", "server", t.TempDir())
	var missing *MissingError
	if !errors.As(err, &missing) || missing.What != "serverd" || missing.Package != "server" {
		t.Errorf("got %v", err)
	}
}
