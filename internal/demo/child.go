package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"millrace/internal/page"
)

// install is a folder with a configuration, on which `millrace up` runs as a
// child.
type install struct {
	dir     string
	command []string // the binary, and what it needs before its arguments
	env     []string
	child   *child
}

// child is one run of the binary.
type child struct {
	pid  int
	done chan struct{} // closed when it has ended
	err  error         // how it ended; to be read after done
}

// runFile is what a running process says about itself.
type runFile struct {
	PID      int      `json:"pid"`
	HTTP     string   `json:"http"`
	Kafka    []string `json:"kafka"`
	Registry string   `json:"registry"`
}

const (
	readyWithin = 60 * time.Second
	stopWithin  = 15 * time.Second
)

func (i *install) logFile() string { return filepath.Join(i.dir, "millrace.log") }

// lookup finds a variable of the child's environment.
func (i *install) lookup(name string) (string, bool) {
	for _, entry := range i.env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// start runs the binary and waits until it answers.
func (i *install) start(ctx context.Context) error {
	log, err := os.OpenFile(i.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start millrace: %w", err)
	}
	defer log.Close()
	args := append(i.command[1:len(i.command):len(i.command)], "up", "--config", filepath.Join(i.dir, "millrace.yaml"))
	cmd := exec.Command(i.command[0], args...) // not with ctx: it is ended in order
	cmd.Env = append(os.Environ(), i.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttr()
	c := &child{done: make(chan struct{})}
	started := make(chan error, 1)
	go c.own(cmd, started)
	if err := <-started; err != nil {
		return fmt.Errorf("start millrace: %w", err)
	}
	i.child = c
	deadline := time.Now().Add(readyWithin)
	for {
		if run, err := i.runFile(); err == nil && run.PID == c.pid {
			if _, err := i.client(run).Status(ctx); err == nil {
				return nil
			}
		}
		if err := i.pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("millrace does not answer:\n%s", i.log())
		}
	}
}

// own keeps its thread, because the kernel takes the end of the thread that
// started a program for the end of the parent.
func (c *child) own(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.done)
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	c.pid = cmd.Process.Pid
	started <- nil
	c.err = cmd.Wait()
}

// pause waits for a while, and notices when the child ends meanwhile.
func (i *install) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-i.child.done:
		return i.ended()
	case <-time.After(d):
		return nil
	}
}

// ended says how the child has ended without having been asked to; nil if it
// runs.
func (i *install) ended() error {
	select {
	case <-i.child.done:
		how := "exit status 0"
		if i.child.err != nil {
			how = i.child.err.Error()
		}
		return fmt.Errorf("millrace ended by itself (%s):\n%s", how, i.log())
	default:
		return nil
	}
}

// kill ends the child as a power cut would end it.
func (i *install) kill() error { return i.end(syscall.SIGKILL) }

// stop ends the child in order, and insists after a while.
func (i *install) stop() error { return i.end(syscall.SIGTERM, syscall.SIGKILL) }

func (i *install) end(signals ...syscall.Signal) error {
	if i.child == nil {
		return nil
	}
	for _, signal := range signals {
		if err := syscall.Kill(i.child.pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end millrace: %w", err)
		}
		select {
		case <-i.child.done:
			i.child = nil
			return nil
		case <-time.After(stopWithin):
		}
	}
	return errors.New("end millrace: it outlives its signals")
}

func (i *install) runFile() (runFile, error) {
	var run runFile
	text, err := os.ReadFile(filepath.Join(i.dir, "data", "run.json"))
	if err == nil {
		err = json.Unmarshal(text, &run)
	}
	if err != nil {
		return run, fmt.Errorf("read where millrace runs: %w", err)
	}
	return run, nil
}

func (*install) client(run runFile) *page.Client {
	c := &page.Client{Addr: run.HTTP}
	c.HTTP.Timeout = time.Minute
	return c
}

// log is the end of what the child has logged.
func (i *install) log() string {
	text, err := os.ReadFile(i.logFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// memory is the most that the child has held, in bytes; 0 where the system
// does not say.
func (i *install) memory() (bytes int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", i.child.pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil && n == 1 {
			return kib << 10
		}
	}
	return 0
}
