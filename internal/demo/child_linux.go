package demo

import "syscall"

// childAttr keeps an interrupt at the terminal from the child, and has it die
// with its parent.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
