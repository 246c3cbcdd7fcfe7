package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"millrace/internal/privateserver"
	"millrace/internal/testkit"
)

// A run that is interrupted ends soon, says that it was, and leaves no process and no
// folder behind.
func TestInterruptedRunCleansUp(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts servers")
	}
	for name, phase := range map[string]string{"capture-postgres": "drain the limit", "end-to-end": "write", "load-duckdb": "load"} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "lt") //nolint:usetesting // a short name: servers make sockets below it
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o711); err != nil { // they run as other users
				t.Fatal(err)
			}
			t.Setenv("TMPDIR", dir)
			f, err := Find(name)
			if err != nil {
				t.Fatal(err)
			}
			f = f.With(Change{Rows: 20_000, Rate: 200, Duration: time.Minute})
			f.Seeded = 200
			before := children(t)
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var at time.Time
			result, err := Run(ctx, f, Options{Patience: 2 * time.Minute, Tell: func(p Progress) {
				if p.Phase == phase && at.IsZero() {
					at = time.Now()
					interrupt()
				}
			}})
			var missing *privateserver.MissingError
			if errors.As(err, &missing) {
				testkit.Missing(t, missing.What, missing.Package)
			}
			if result != nil || !errors.Is(err, context.Canceled) || at.IsZero() {
				t.Errorf("interrupted: %v; it ends with %v, %v", !at.IsZero(), result, err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it leaves %v, %v", left, err)
			}
			for pid := range children(t) {
				if !before[pid] {
					t.Errorf("it leaves the process %s", pid)
				}
			}
		})
	}
}

// children are the processes that this one has started and not waited for.
func children(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		testkit.Unable(t, "a system that tells of its processes (/proc)")
	}
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%s/children", task.Name()))
		if err != nil {
			continue // the thread has ended
		}
		for pid := range strings.FieldsSeq(string(text)) {
			out[pid] = true
		}
	}
	return out
}
