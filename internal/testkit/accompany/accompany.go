// Package accompany runs a command beside a server of the tests that it needs,
// for as long as the command runs.
package accompany

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// Run runs a command to its end, with the variables added to its environment,
// and returns how it ended. An interrupt at the terminal reaches the command by
// itself, and two of them would kill it: of the signals that this process is
// told, SIGTERM alone is passed on.
func Run(command, env []string, told <-chan os.Signal, out io.Writer) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", command[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return err
		case s := <-told:
			if s == syscall.SIGTERM {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		}
	}
}
