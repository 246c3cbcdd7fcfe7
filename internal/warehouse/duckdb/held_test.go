package duckdb

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever comes second is told who has the file, and what to do.
func TestTheSecondProcessIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.duckdb")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), killPath+"="+path), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !bufio.NewScanner(out).Scan() { // it has the file
		t.Fatal("the other process says nothing")
	}
	_, err = Open(t.Context(), path, Options{})
	var held *HeldError
	if !errors.As(err, &held) || !strings.HasPrefix(held.Holder, fmt.Sprintf("the process %d", cmd.Process.Pid)) {
		t.Errorf("got %v, want that the process %d has it", err, cmd.Process.Pid)
	}
	if err != nil && strings.Contains(err.Error(), "duckdb.org") {
		t.Errorf("DuckDB's own words are shown: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	w, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatalf("the file of a process that is gone: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
