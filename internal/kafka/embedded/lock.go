package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// RunningError is the reason when another process uses the folder.
type RunningError struct {
	Dir, PID, Addr string // PID and Addr are empty while the other one starts
}

func (e *RunningError) Error() string {
	if e.Addr == "" {
		return fmt.Sprintf("data folder %s: already running, and still starting: %s", e.Dir, runningCure)
	}
	return fmt.Sprintf("data folder %s: already running, pid %s, Kafka at %s: %s", e.Dir, e.PID, e.Addr, runningCure)
}

const runningCure = "stop that process, or give this one another data: folder, with a prefix: of its own"

// lock is a lock on a data folder. The kernel drops it with the process, so
// there is no such thing as a stale one.
type lock struct{ file *os.File }

// patience is how long the lock is asked for: a process that was killed holds it
// until the kernel has freed its memory.
const patience = time.Second

func acquire(dir string) (*lock, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of data folder: %w", err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(patience / 50) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:gosec // a descriptor fits
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		running := &RunningError{Dir: dir}
		if said, err := io.ReadAll(f); err == nil {
			if words := bytes.Fields(said); len(words) == 2 {
				running.PID, running.Addr = string(words[0]), string(words[1])
			}
		}
		return nil, errors.Join(running, f.Close())
	}
	if err == nil {
		err = f.Truncate(0) // what a dead owner said
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock data folder %s: %w", dir, err), f.Close())
	}
	return &lock{f}, nil
}

// announce says to others who holds the lock.
func (l *lock) announce(addr string) error {
	_, err := l.file.WriteAt(fmt.Appendf(nil, "%d %s\n", os.Getpid(), addr), 0)
	return err
}

// release leaves the file: removing it would let two processes lock two files
// of one name.
func (l *lock) release() error { return errors.Join(l.file.Truncate(0), l.file.Close()) }
