// Package privateserver starts database servers that belong to one process: on
// a free port, with their data in a folder of their own, and gone when the
// process is gone, however it ends.
//
// Their data survives a kill of the server, not one of the machine: nothing is
// synced to disk. They trust every local connection, so they are for tests and
// for demonstrations, never for data that anyone needs.
package privateserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// Kind is a kind of server.
type Kind string

// The servers that can be started.
const (
	Postgres Kind = "postgres"
	MariaDB  Kind = "mariadb"
	MySQL    Kind = "mysql"
)

// Home is a temporary folder that holds servers. It and they are removed by
// Close, or when the process ends.
type Home struct {
	dir    string
	reaper *reaper

	mu        sync.Mutex // held while a server is made: the first makes the template
	servers   []*Server
	templates map[Kind]string
}

// NewHome makes the folder.
func NewHome() (*Home, error) {
	dir, err := os.MkdirTemp("", "millrace-servers-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for servers: %w", err)
	}
	// Started by root, the servers run as other users and must get through.
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, errors.Join(fmt.Errorf("open the folder for servers: %w", err), os.RemoveAll(dir))
	}
	r, err := startReaper(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Home{dir: dir, reaper: r, templates: map[Kind]string{}}, nil
}

// Start makes a new, empty server and returns when it takes connections. The
// arguments are added to the server's command line. A server that is not
// installed is a *MissingError.
func (h *Home) Start(ctx context.Context, kind Kind, args ...string) (*Server, error) {
	e, err := newEngine(kind)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.newServer(ctx, kind, e, args)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	if err := s.startFirst(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", kind, err), s.Close())
	}
	h.servers = append(h.servers, s)
	return s, nil
}

func (h *Home) newServer(ctx context.Context, kind Kind, e engine, args []string) (*Server, error) {
	template, ok := h.templates[kind]
	if !ok {
		template = filepath.Join(h.dir, string(kind)+"-template")
		if err := makeTemplate(ctx, e, template); err != nil {
			return nil, errors.Join(err, os.RemoveAll(template))
		}
		h.templates[kind] = template
	}
	dir, err := os.MkdirTemp(h.dir, string(kind)+"-")
	if err != nil {
		return nil, fmt.Errorf("make the server's folder: %w", err)
	}
	// cp keeps the owner, which os.CopyFS does not.
	out, err := exec.CommandContext(ctx, "cp", "-a", template+"/.", dir).CombinedOutput()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copy the empty data folder: %w: %s", err, out), os.RemoveAll(dir))
	}
	return &Server{engine: e, dir: dir, args: args}, nil
}

// makeTemplate fills dir with the folders of a server that never ran: data and
// run, which belong to the server's account.
func makeTemplate(ctx context.Context, e engine, dir string) error {
	data, run := filepath.Join(dir, "data"), filepath.Join(dir, "run")
	for _, d := range []string{dir, data, run} {
		if err := os.Mkdir(d, 0o711); err != nil {
			return fmt.Errorf("make the server's folder: %w", err)
		}
	}
	acct := e.account()
	if acct != nil {
		for _, d := range []string{data, run} {
			if err := os.Chown(d, int(acct.Uid), int(acct.Gid)); err != nil {
				return fmt.Errorf("hand the server its folder: %w", err)
			}
		}
	}
	cmd := e.initialize(ctx, data)
	prepare(cmd, acct, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make an empty data folder: %w: %s", err, tail(out))
	}
	return nil
}

// Close stops every server and removes the folder.
func (h *Home) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, s := range h.servers {
		errs = append(errs, s.Close())
	}
	h.servers = nil
	if err := os.RemoveAll(h.dir); err != nil {
		errs = append(errs, fmt.Errorf("remove the servers' folder: %w", err))
	}
	if h.reaper != nil {
		errs = append(errs, h.reaper.close())
		h.reaper = nil
	}
	return errors.Join(errs...)
}

// reaper is a shell that outlives this process by a moment: when its standard
// input ends, because this process closed it or died, it kills the servers
// that are left and removes their folder.
type reaper struct {
	stdin io.Closer
	cmd   *exec.Cmd
}

const reaperScript = `trap '' INT TERM HUP
cat >/dev/null
for f in "$1"/*/` + pidFile + `; do
	[ -f "$f" ] && kill -9 "$(cat "$f")"
done
for wait in 0.1 0.2 0.5 1 2 5; do
	rm -rf -- "$1" && break
	sleep $wait
done`

func startReaper(dir string) (*reaper, error) {
	cmd := exec.Command("/bin/sh", "-c", reaperScript, "millrace-reaper", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is not for it
	cmd.Dir = "/"
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the reaper of servers: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the reaper of servers: %w", err)
	}
	return &reaper{stdin: stdin, cmd: cmd}, nil
}

func (r *reaper) close() error {
	if err := r.stdin.Close(); err != nil {
		return fmt.Errorf("end the reaper of servers: %w", err)
	}
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("end the reaper of servers: %w", err)
	}
	return nil
}
