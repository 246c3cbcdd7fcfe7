package testkit

import (
	"syscall"
	"time"
)

// CPUTime is the CPU of this process, of all its threads: on a busy machine the
// clock says little.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it knows its own process
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
