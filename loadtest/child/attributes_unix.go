//go:build unix

package child

import (
	"fmt"
	"os"
	"runtime"
	"strings"
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
	// On Linux, a process begins with the most that its parent ever held.
	if own := highWater(); own > 0 {
		c.Peak = own
	}
	return c
}

// highWater is the most memory that this process held since it began, or zero
// where no file says it.
func highWater() (bytes int64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); err == nil && n == 1 {
			return bytes << 10
		}
	}
	return 0
}
