package child

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var roles = map[string]Role{
	"echo": func(ctx context.Context, args json.RawMessage, ready func(any) error) (any, error) {
		if err := ready(args); err != nil {
			return nil, err
		}
		<-ctx.Done()
		return "done", nil
	},
	"once":  func(context.Context, json.RawMessage, func(any) error) (any, error) { return nil, errors.New("cannot") },
	"count": func(_ context.Context, _ json.RawMessage, ready func(any) error) (any, error) { return 42, ready("go") },
	"die": func(_ context.Context, _ json.RawMessage, ready func(any) error) (any, error) {
		if err := ready("go"); err != nil {
			return nil, err
		}
		os.Exit(7)
		return nil, nil
	},
}

func TestMain(m *testing.M) {
	if played, code := Serve(context.Background(), roles); played {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

func TestAChildLivesUntilItIsStopped(t *testing.T) {
	var hello map[string]int
	c, err := Start(t.Context(), t.TempDir(), "c", "echo", map[string]int{"a": 3}, &hello)
	if err != nil {
		t.Fatal(err)
	}
	if hello["a"] != 3 || c.PID == os.Getpid() || c.Ended() {
		t.Errorf("hello %v, pid %d, ended %v", hello, c.PID, c.Ended())
	}
	result, err := c.Stop()
	if err != nil || string(result) != `"done"` {
		t.Errorf("%s, %v", result, err)
	}
	if _, err := c.Stop(); err != nil || !c.Ended() {
		t.Errorf("stopped twice: %v", err)
	}
}

func TestAChildEndsByItself(t *testing.T) {
	var hello string
	c, err := Start(t.Context(), t.TempDir(), "c", "count", nil, &hello)
	if err != nil {
		t.Fatal(err)
	}
	if result, err := c.Wait(t.Context()); err != nil || string(result) != "42" {
		t.Errorf("%s, %v", result, err)
	}
}

// Whatever way a child fails, the parent says why.
func TestFaultsOfAChildAreSaid(t *testing.T) {
	var hello string
	if _, err := Start(t.Context(), t.TempDir(), "c", "once", nil, &hello); err == nil || !strings.Contains(err.Error(), "cannot") {
		t.Errorf("not ready: %v", err)
	}
	if _, err := Start(t.Context(), t.TempDir(), "c", "nobody", nil, &hello); err == nil || !strings.Contains(err.Error(), "no such role") {
		t.Errorf("no role: %v", err)
	}
	c, err := Start(t.Context(), t.TempDir(), "c", "die", nil, &hello)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("died: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, err = Start(t.Context(), t.TempDir(), "c", "echo", nil, &hello)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := c.Wait(ctx); !errors.Is(err, context.Canceled) || !c.Ended() {
		t.Errorf("given up: %v", err)
	}
}

// What a child held is its own: not what its parent had held when it began.
func TestAChildsMemoryIsItsOwn(t *testing.T) {
	const held = 256 << 20
	b := make([]byte, held)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	c, err := Start(t.Context(), t.TempDir(), "c", "count", nil, new(string))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.Cost.Peak <= 0 || c.Cost.Peak >= held {
		t.Errorf("a child that does nothing held %d MB beside %d MB of its parent", c.Cost.Peak>>20, held>>20)
	}
	runtime.KeepAlive(b)
}
