package mongofake

import (
	"os"
	"path/filepath"
	"testing"
)

// Behind a write that may be torn nothing is written, or the next start would
// drop what was acknowledged.
func TestFailedLogStaysFailed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oplog")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	j := &journal{file: readOnly}
	if err := j.append(&record{kind: recordNoop}); err == nil {
		t.Fatal("a read-only file was written")
	}
	j.file, err = os.OpenFile(path, os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer j.file.Close()
	if err := j.append(&record{kind: recordNoop}); err == nil {
		t.Error("it is written on behind a failure")
	}
}

func TestOneFakePerFolder(t *testing.T) {
	dir := t.TempDir()
	one, err := openJournal(dir, func(*record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openJournal(dir, func(*record) error { return nil }); err == nil {
		t.Error("two fakes write one log")
	}
	if err := one.close(); err != nil {
		t.Fatal(err)
	}
	again, err := openJournal(dir, func(*record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := again.close(); err != nil {
		t.Fatal(err)
	}
}
