//go:build unix && !linux

package privateserver

import "syscall"

// dieWithParent leaves that to the reaper: only Linux has a signal for it.
func dieWithParent(*syscall.SysProcAttr) {}
