//go:build unix

package child

import (
	"runtime"
	"syscall"
	"time"
)

// attributes keep an interrupt at the terminal from the child: its parent ends it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// used is what this process has used so far.
func used() (c Cost) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return c
	}
	c.CPU, c.Peak = time.Duration(u.Utime.Nano()+u.Stime.Nano()), u.Maxrss
	if runtime.GOOS != "darwin" { // there it is in bytes
		c.Peak <<= 10
	}
	return c
}
