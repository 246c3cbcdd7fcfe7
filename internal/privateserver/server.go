package privateserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	pidFile      = "server.pid"
	startTimeout = 60 * time.Second
	stopTimeout  = 10 * time.Second
	pollEvery    = 10 * time.Millisecond
)

// Server is a server of its own. Its methods may be called from any goroutine.
type Server struct {
	engine engine
	dir    string
	args   []string
	port   int

	mu   sync.Mutex // held over a change of proc, from the signal to the end
	proc *process   // nil if it does not run
}

// process is one run of the server's program.
type process struct {
	pid  int
	done chan struct{} // closed when the program and its children have ended
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Addr is host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// PID is the process of the server's program, which may have others below it; 0
// if it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil || s.proc.ended() {
		return 0
	}
	return s.proc.pid
}

// Port is the TCP port, the same after every Start.
func (s *Server) Port() int { return s.port }

// SocketDir holds the server's unix socket.
func (s *Server) SocketDir() string { return filepath.Join(s.dir, "run") }

// DSN is the URL of a database of the server, with an account that may do
// everything. An empty db is the one that always exists.
func (s *Server) DSN(db string) string { return s.engine.dsn(s.Addr(), db) }

// Log is the end of what the server has logged since it was last started.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return tail(b)
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// Start starts the server again, on the same port and data. It does nothing
// if the server runs.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil && !s.proc.ended() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.launch(ctx)
		// Its port may have been lent to a connection of someone else.
		if !errors.Is(err, errBusy) || ctx.Err() != nil {
			return err
		}
		sleep(ctx, 10*pollEvery)
	}
}

// startFirst is Start on a port that is free now; another process may take it
// first, so it tries several.
func (s *Server) startFirst(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var err error
	for range 5 {
		if s.port, err = freePort(ctx); err != nil {
			return err
		}
		if err = s.launch(ctx); !errors.Is(err, errBusy) {
			return err
		}
	}
	return err
}

var errBusy = errors.New("port or data folder is still in use")

// launch runs the program until it takes connections.
func (s *Server) launch(ctx context.Context) error {
	log, err := os.Create(s.logFile())
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close()
	cmd := s.engine.command(s)
	prepare(cmd, s.engine.account(), s.dir)
	dieWithParent(cmd.SysProcAttr)
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := run(cmd)
	if err != nil {
		return err
	}
	s.proc = proc
	if err := os.WriteFile(filepath.Join(s.dir, pidFile), []byte(strconv.Itoa(proc.pid)), 0o600); err != nil {
		return errors.Join(fmt.Errorf("note the server's process: %w", err), s.end(syscall.SIGKILL))
	}
	for !s.engine.ready(ctx, s, proc.pid) {
		if proc.ended() {
			err := fmt.Errorf("server ended at once: %s", s.Log())
			if s.engine.busy(s.Log()) {
				err = fmt.Errorf("%w: %w", errBusy, err)
			}
			return errors.Join(err, s.end(syscall.SIGKILL))
		}
		if ctx.Err() != nil {
			err := fmt.Errorf("wait for the server: %w: %s", ctx.Err(), s.Log())
			return errors.Join(err, s.end(syscall.SIGKILL))
		}
		sleep(ctx, pollEvery)
	}
	return nil
}

// run starts cmd and owns it until it ends.
func run(cmd *exec.Cmd) (*process, error) {
	// Every process of the server inherits the pipe's end and none writes, so it
	// ends with the last of them: PostgreSQL's backends outlive a killed parent.
	alive, inherited, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	cmd.ExtraFiles = []*os.File{inherited}
	started := make(chan error, 1)
	p := &process{done: make(chan struct{})}
	go own(cmd, p, alive, started)
	err = <-started
	_ = inherited.Close() // nothing was written
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	return p, nil
}

// own keeps its thread, because the kernel takes the end of the thread that
// started a program for the end of the parent.
func own(cmd *exec.Cmd, p *process, alive *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	defer alive.Close()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil
	_ = cmd.Wait() // how it ended is in its log
	_, _ = alive.Read(make([]byte, 1))
}

// Stop asks the server to end in order, and insists after a while: PostgreSQL
// otherwise waits for as long as a replication client does not confirm.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(s.engine.stopSignals()...)
}

// Kill ends the server by SIGKILL and returns when all of it is gone.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(syscall.SIGKILL)
}

// Close ends the server and removes its data.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.end(s.engine.abortSignal(), syscall.SIGKILL); err != nil {
		return err
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove the server's folder: %w", err)
	}
	return nil
}

// end sends one signal after the other until the process is gone.
func (s *Server) end(signals ...syscall.Signal) error {
	if s.proc == nil {
		return nil
	}
	for _, sig := range signals {
		if s.proc.ended() {
			break
		}
		// It may end on its own at this moment; then there is none to signal.
		if err := syscall.Kill(s.proc.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal the server: %w", err)
		}
		select {
		case <-s.proc.done:
		case <-time.After(stopTimeout):
		}
	}
	if !s.proc.ended() {
		return fmt.Errorf("end the server: process %d outlives its signals", s.proc.pid)
	}
	s.proc = nil
	if err := os.Remove(filepath.Join(s.dir, pidFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget the server's process: %w", err)
	}
	return nil
}

func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return port, nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// tail is the last lines of a log.
func tail(b []byte) string {
	const most = 2000
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return strings.TrimSpace(string(b))
}
