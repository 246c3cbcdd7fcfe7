package accompany_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"millrace/internal/testkit/accompany"
)

func TestRun(t *testing.T) {
	var out bytes.Buffer
	err := accompany.Run([]string{"sh", "-c", `echo "$WHO"; exit 3`}, []string{"WHO=me"}, nil, &out)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || out.String() != "me\n" {
		t.Errorf("it ended with %v and said %q", err, out.String())
	}
	if err := accompany.Run([]string{"/no/such/command"}, nil, nil, &out); err == nil {
		t.Error("a command that is not there: no error")
	}
}

// An interrupt is not passed on, a request to end is.
func TestSignals(t *testing.T) {
	told := make(chan os.Signal, 2)
	told <- os.Interrupt
	told <- syscall.SIGTERM
	var out bytes.Buffer
	err := accompany.Run([]string{"sh", "-c", "exec sleep 600"}, nil, told, &out)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", err)
	}
}
