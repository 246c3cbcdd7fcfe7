// Package child runs parts of a measurement in processes of their own, so that
// the CPU and the memory of each are known: the binary starts itself again in a
// role.
//
// A child reads its arguments from its standard input, says on its standard
// output when it is ready, and works until the input ends, so that it outlives
// its parent in no case. Then it gives its result.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// variable of the environment that holds a child's role.
const variable = "MILLRACE_LOADTEST_ROLE"

// Role is what a child does. It calls ready once, with what the parent wants to
// know, and returns its result when it is done or when ctx ends.
type Role func(ctx context.Context, args json.RawMessage, ready func(hello any) error) (result any, err error)

// message is a line from a child.
type message struct {
	Hello  json.RawMessage `json:"hello,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
	Cost   Cost            `json:"cost,omitzero"`
}

// Cost is what a child has used from when it was ready until it was done.
type Cost struct {
	Wall time.Duration `json:"wall"`
	CPU  time.Duration `json:"cpu"`
	Peak int64         `json:"peak"` // memory, in bytes, since it began
}

// Serve plays the role that the environment names and reports true, or false if
// it names none: this is the parent then.
func Serve(ctx context.Context, roles map[string]Role) (played bool, code int) {
	name := os.Getenv(variable)
	if name == "" {
		return false, 0
	}
	role, ok := roles[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such role:", name)
		return true, 1
	}
	if err := serve(ctx, role, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return true, 1
	}
	return true, 0
}

func serve(ctx context.Context, role Role, in io.Reader, out io.Writer) error {
	input := bufio.NewReader(in)
	args, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the arguments: %w", err)
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() { // ends with the process at the latest
		_, _ = io.Copy(io.Discard, input)
		end()
	}()
	say := json.NewEncoder(out)
	var began time.Time
	var before Cost
	result, err := role(ctx, args, func(hello any) error {
		began, before = time.Now(), used()
		text, err := json.Marshal(hello)
		if err != nil {
			return fmt.Errorf("encode what is ready: %w", err)
		}
		return say.Encode(message{Hello: text})
	})
	if err != nil {
		return errors.Join(err, say.Encode(message{Error: err.Error()}))
	}
	cost := used()
	cost.Wall, cost.CPU = time.Since(began), cost.CPU-before.CPU
	text, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	return say.Encode(message{Result: text, Cost: cost})
}

// Child is a running child.
type Child struct {
	Name string
	PID  int
	Cost Cost // of a child that has ended

	cmd    *exec.Cmd
	stdin  io.Closer
	lines  *bufio.Reader
	log    string
	result chan message // its last line, when the process has ended; nil when that was taken
	err    error        // how it ended
}

// patience is how long a child may take to end after it was told to.
const patience = 30 * time.Second

// Start starts a child that plays the role and returns when it is ready. What
// it says then goes into hello; what it logs, into a file of the folder.
func Start(ctx context.Context, dir, name, role string, args, hello any, env ...string) (*Child, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	text, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c := &Child{Name: name, log: filepath.Join(dir, name+".log"), result: make(chan message, 1)}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	c.cmd = exec.Command(binary) // not with ctx: it is ended in order
	c.cmd.Env = append(append(os.Environ(), env...), variable+"="+role)
	c.cmd.Stderr, c.cmd.SysProcAttr = log, attributes()
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.PID, c.stdin, c.lines = c.cmd.Process.Pid, stdin, bufio.NewReader(stdout)
	first := make(chan message, 1)
	go c.read(first, c.result)
	_, _ = stdin.Write(append(text, '\n')) // one that has ended says why below
	select {
	case m, ok := <-first:
		if !ok || m.Hello == nil {
			_, err := c.Wait(ctx)
			return nil, errors.Join(fmt.Errorf("start %s: it ended before it was ready", name), err)
		}
		if err := json.Unmarshal(m.Hello, hello); err != nil {
			c.kill()
			return nil, fmt.Errorf("read what %s says: %w", name, err)
		}
	case <-ctx.Done():
		c.kill()
		return nil, ctx.Err()
	}
	return c, nil
}

// read owns the process until it has ended.
func (c *Child) read(first, result chan<- message) {
	var last message
	for n := 0; ; n++ {
		line, err := c.lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var m message
		if json.Unmarshal(line, &m) != nil {
			continue // not ours: what a library prints
		}
		if m.Hello != nil {
			first <- m
			continue
		}
		last = m
	}
	c.err = c.cmd.Wait()
	close(first)
	result <- last
}

// Ended reports whether the process is gone.
func (c *Child) Ended() bool { return len(c.result) > 0 || c.result == nil }

// Log is the end of what the child has logged.
func (c *Child) Log() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// Wait waits until the child is done by itself and returns its result.
func (c *Child) Wait(ctx context.Context) (json.RawMessage, error) {
	select {
	case m := <-c.result:
		return c.outcome(m)
	case <-ctx.Done():
		c.kill()
		return nil, ctx.Err()
	}
}

// Stop tells the child to end and returns its result. It kills one that does
// not end.
func (c *Child) Stop() (json.RawMessage, error) {
	if c.result == nil {
		return nil, nil
	}
	_ = c.stdin.Close() // it may have ended
	select {
	case m := <-c.result:
		return c.outcome(m)
	case <-time.After(patience):
		c.kill()
		return nil, fmt.Errorf("end %s: it does not end", c.Name)
	}
}

func (c *Child) outcome(m message) (json.RawMessage, error) {
	c.result, c.Cost = nil, m.Cost
	_ = c.stdin.Close() // it has ended
	if m.Error != "" {
		return nil, fmt.Errorf("%s: %s", c.Name, m.Error)
	}
	if c.err != nil {
		return nil, fmt.Errorf("%s ended: %w\n%s", c.Name, c.err, c.Log())
	}
	return m.Result, nil
}

func (c *Child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.result
	c.result = nil
}
