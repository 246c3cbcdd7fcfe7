package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"millrace/internal/config"
)

// What it writes is what a configuration takes.
func TestSection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	var out bytes.Buffer
	// The command finds the file, adds a source, and says how it ended.
	err := run(t.Context(), []string{path, "sh", "-c", "echo \"sources: {a: {kind: postgres, dsn: 'postgres://x@y/z', tables: {public.t: {}}}}\" >>\"$0\"; exit 3", path}, nil, &out)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("the command ended with 3, and it says %v", err)
	}
	c, err := config.Load(path, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.Warehouse.Kind != config.KindBigQuery || c.Warehouse.BigQuery.JobsURL == "" || c.Warehouse.BigQuery.WritesAddr == "" {
		t.Errorf("%+v", c.Warehouse)
	}
}

func TestEnds(t *testing.T) {
	var out bytes.Buffer
	told := make(chan os.Signal, 1)
	told <- syscall.SIGTERM
	if err := run(t.Context(), []string{filepath.Join(t.TempDir(), "w.yaml")}, told, &out); err != nil {
		t.Errorf("told to end: %v", err)
	}
	told <- syscall.SIGTERM
	start := time.Now()
	if err := run(t.Context(), []string{filepath.Join(t.TempDir(), "w.yaml"), "sleep", "600"}, told, &out); err == nil || time.Since(start) > 5*time.Minute {
		t.Errorf("the command was not told to end: %v", err)
	}
	for _, args := range [][]string{nil, {filepath.Join(t.TempDir(), "no", "folder")}, {filepath.Join(t.TempDir(), "w.yaml"), "/no/such/command"}} {
		if err := run(t.Context(), args, told, &out); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
