package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/internal/page"
	"millrace/internal/up"
)

// install is a folder with a configuration, on which millrace runs as a child.
type install struct {
	t     *testing.T
	dir   string
	child *child // nil: none runs
	log   lockedBuffer
}

// child is a run of the binary.
type child struct {
	*exec.Cmd
	exited chan struct{}
}

// run runs the binary until it is ended.
func (i *install) run(args ...string) *child {
	i.t.Helper()
	c := &child{i.command(args...), make(chan struct{})}
	c.Stdout, c.Stderr = &i.log, &i.log
	if err := c.Start(); err != nil {
		i.t.Fatal(err)
	}
	go func() {
		_ = c.Wait() // the way it ends is the tests' doing
		close(c.exited)
	}()
	return c
}

func (c *child) end(sig syscall.Signal) {
	if c == nil {
		return
	}
	_ = c.Process.Signal(sig) // it may have ended
	<-c.exited
}

// lockedBuffer has no other methods: those of a bytes.Buffer take no lock.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newInstall(t *testing.T, config string, files map[string]string) *install {
	t.Helper()
	i := &install{t: t, dir: t.TempDir()}
	i.write("millrace.yaml", config)
	for name, text := range files {
		i.write(name, text)
	}
	t.Cleanup(func() {
		if t.Failed() {
			i.end(syscall.SIGQUIT) // the log then says what waits for what
		}
		i.kill()
		if t.Failed() {
			t.Log(i.log.String())
		}
	})
	return i
}

func (i *install) write(name, text string) {
	i.t.Helper()
	path := filepath.Join(i.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		i.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		i.t.Fatal(err)
	}
}

func (i *install) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = i.dir
	// A DSN in the environment is of a database that no test may touch.
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasSuffix(name, "_DSN")
	}), "MILLRACE_TEST_MAIN=1")
	return cmd
}

// start runs `millrace up` and waits until it answers.
func (i *install) start() {
	i.t.Helper()
	i.child = i.run("up", "--config", "millrace.yaml")
	i.await("millrace answers", func() bool {
		select {
		case <-i.child.exited:
			i.t.Fatalf("millrace ended:\n%s", i.log.String())
		default:
		}
		_, err := i.client().Status(i.t.Context())
		return err == nil && i.pid() == i.child.Process.Pid
	})
}

func (i *install) pid() int {
	f, err := up.Find(filepath.Join(i.dir, "data"))
	if err != nil {
		return 0
	}
	return f.PID
}

// kill ends the child as a power cut would end the process.
func (i *install) kill() { i.end(syscall.SIGKILL) }

// stop ends the child as a person would.
func (i *install) stop() { i.end(syscall.SIGTERM) }

func (i *install) end(sig syscall.Signal) {
	i.child.end(sig)
	i.child = nil
}

func (i *install) client() *page.Client {
	f, err := up.Find(filepath.Join(i.dir, "data"))
	if err != nil {
		return &page.Client{Addr: "127.0.0.1:1"}
	}
	return &page.Client{Addr: f.HTTP}
}

// rows runs a query and returns one text a row, values between bars.
func (i *install) rows(sql string) ([]string, error) {
	ctx, cancel := context.WithTimeout(i.t.Context(), 20*time.Second)
	defer cancel()
	table, err := i.client().Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return lines(table.Rows), nil
}

// lines are rows as one text each, values between bars.
func lines(rows [][]*string) []string {
	out := []string{}
	for _, row := range rows {
		var parts []string
		for _, v := range row {
			if v == nil {
				parts = append(parts, "NULL")
			} else {
				parts = append(parts, *v)
			}
		}
		out = append(out, strings.Join(parts, "|"))
	}
	return out
}

// await fails the test if something does not come about at all.
func (i *install) await(what string, ok func() bool) {
	i.t.Helper()
	for end := time.Now().Add(90 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			i.t.Fatalf("waited in vain: %s", what)
		}
	}
}
