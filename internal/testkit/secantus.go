package testkit

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Secantus starts a SecantusDB of the test's own, a server that speaks MongoDB's
// protocol, and returns its connection string. It is right about change streams
// and resuming; snapshots and images are not what MongoDB gives, and a kill loses
// what it acknowledged.
func Secantus(t testing.TB) (uri string) {
	t.Helper()
	skipShort(t)
	program, err := secantusProgram()
	if err != nil {
		Missing(t, "secantusd-py", "SecantusDB from PyPI, into .cache/secantusdb")
		return ""
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	addr := listener.Addr().(*net.TCPAddr)
	check(t, listener.Close())
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--host", "127.0.0.1", "--port", strconv.Itoa(addr.Port),
		"--storage-path", filepath.Join(dir, "data"), "--noop-heartbeat-seconds", "1")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	check(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the log of SecantusDB:\n%s", text[max(0, len(text)-4000):])
		}
	})
	for end := time.Now().Add(time.Minute); ; {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
		if err == nil {
			_ = conn.Close()
			return "mongodb://" + addr.String() + "/?directConnection=true"
		}
		if time.Now().After(end) {
			t.Fatalf("SecantusDB does not listen: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// secantusProgram is where make deps has put it.
func secantusProgram() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			program := filepath.Join(dir, ".cache", "secantusdb", "bin", "secantusd-py")
			_, err := os.Stat(program)
			return program, err
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("there is no go.mod above the test")
		}
	}
}
