package duckdb

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

const (
	killPath = "MILLRACE_TEST_KILL_PATH" // the child's warehouse; also says that it is the child
	killRows = 500
)

func TestMain(m *testing.M) {
	if path := os.Getenv(killPath); path != "" {
		if err := loadUntilKilled(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// loadUntilKilled says the number of each load once Load has returned.
func loadUntilKilled(path string) error {
	ctx := context.Background()
	w, err := Open(ctx, path, Options{Threads: 2})
	if err != nil {
		return err
	}
	l, err := newLoader(ctx, w, "core.a")
	if err != nil {
		return err
	}
	for {
		if err := l.load(ctx, 0, killRows); err != nil {
			return err
		}
		fmt.Println(l.head.Load)
	}
}

// A load that has returned survives kill -9 of the process, and no load is ever
// half there.
func TestKilledProcess(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), FileName)
	said, epoch := int64(0), int64(0)
	for round := range 3 {
		said = runAndKill(t, path, said+1+rng.Int64N(20))
		w, err := Open(t.Context(), path, Options{Threads: 2})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		head, err := w.Acquire(t.Context(), "core.a", "topic", "id")
		if err != nil {
			t.Fatal(err)
		}
		if head.Load < said || head.Epoch != epoch+2 {
			t.Errorf("round %d: head at load %d of epoch %d, the process had said %d", round, head.Load, head.Epoch, said)
		}
		epoch, said = head.Epoch, head.Load
		whole := fmt.Sprintf("SELECT count(*) FROM core__base.a WHERE _load = %d", head.Load)
		if n := count(t, w, whole); n != killRows {
			t.Errorf("round %d: %d rows of load %d", round, n, head.Load)
		}
		if n := count(t, w, "SELECT count(DISTINCT load) FROM millrace.core__a__loads"); n != head.Load {
			t.Errorf("round %d: %d loads are logged of %d", round, n, head.Load)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// runAndKill kills a loading process once it has said the given load, and
// returns the last that it said.
func runAndKill(t *testing.T, path string, until int64) (said int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killPath+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	killed := false
	for lines.Scan() {
		n, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			continue
		}
		said = n
		if n >= until && !killed {
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if !killed {
		t.Fatalf("the process ended by itself after load %d", said)
	}
	return said
}
