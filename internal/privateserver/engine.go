package privateserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// engine is what differs between the kinds of server.
type engine interface {
	account() *syscall.Credential // nil: as this process
	initialize(ctx context.Context, data string) *exec.Cmd
	command(s *Server) *exec.Cmd
	ready(ctx context.Context, s *Server, pid int) bool
	busy(log string) bool // the log says that port or data are in use
	stopSignals() []syscall.Signal
	abortSignal() syscall.Signal // ends at once, without caring for the data
	dsn(addr, db string) string
}

// newEngine finds the programs of the kind and the account that runs them.
func newEngine(kind Kind) (engine, error) {
	switch kind {
	case Postgres:
		return newPostgres()
	case MariaDB:
		return newMariaDB()
	case MySQL:
		return newMySQL()
	}
	return nil, fmt.Errorf("unknown kind of server %q", kind)
}

// MissingError is the reason when a server is not installed.
type MissingError struct {
	What    string // the program or account that is not there
	Package string // what brings it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is missing; install the package %s (make deps does)", e.What, e.Package)
}

// locate finds a program in PATH or in one of the folders, which may be
// patterns; of several versions it takes the greatest.
func locate(name, pkg string, folders ...string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return path, nil
		}
	}
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(folder, name))
		if err != nil {
			return "", fmt.Errorf("find %s: %w", name, err)
		}
		if len(found) > 0 {
			return slices.MaxFunc(found, byVersion), nil
		}
	}
	return "", &MissingError{What: name, Package: pkg}
}

// byVersion compares paths whose only difference is a number: 9 is below 15.
func byVersion(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// serverAccount is the account under which root runs a server, which refuses
// to run as root; nil for anyone else.
func serverAccount(name, pkg string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return nil, &MissingError{What: "the account " + name, Package: pkg}
	}
	if err != nil {
		return nil, fmt.Errorf("look up the account %s: %w", name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("look up the account %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("look up the account %s: %w", name, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// prepare gives cmd the account, a process group, so that an interrupt at the
// terminal does not reach it, a folder that the account may enter, and an
// environment that does not depend on who starts it.
func prepare(cmd *exec.Cmd, acct *syscall.Credential, dir string) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: acct}
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=" + dir}
}
