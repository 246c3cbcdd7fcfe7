//go:build unix && !linux

package demo

import "syscall"

// childAttr keeps an interrupt at the terminal from the child. Only Linux lets
// it die with its parent.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
