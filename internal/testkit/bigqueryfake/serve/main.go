// Command serve runs the BigQuery fake for people. It writes the warehouse
// section of a configuration that names it to the file that is its first
// argument. What follows is a command, which it runs and whose exit status is
// its own; without one, it serves until it is interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"millrace/internal/testkit/accompany"
	"millrace/internal/testkit/bigqueryfake"
)

func main() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, syscall.SIGTERM)
	err := run(context.Background(), os.Args[1:], told, os.Stdout)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		os.Exit(exit.ExitCode()) // what was wrong, the command has said
	case err != nil:
		fmt.Fprintln(os.Stderr, "bigqueryfake: "+err.Error())
		os.Exit(1)
	}
}

// run serves until the command ends or, if there is none, until it is told to end.
func run(ctx context.Context, args []string, told <-chan os.Signal, out io.Writer) (err error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return errors.New("usage: bigqueryfake FILE [COMMAND …]: FILE is written, the section warehouse: of a configuration; COMMAND is run beside it")
	}
	fake, err := bigqueryfake.Start(ctx, bigqueryfake.Options{Location: location})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fake.Close()) }()
	path, command := args[0], args[1:]
	fresh := path + ".new" // readers see the whole file or none
	if err := os.WriteFile(fresh, []byte(section(fake)), 0o600); err != nil {
		return fmt.Errorf("say where it is: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("say where it is: %w", err)
	}
	fmt.Fprintf(out, "bigqueryfake: the project %s is there until this ends; %s says where\n", fake.Project(), path)
	if len(command) == 0 {
		<-told
		return nil
	}
	return accompany.Run(command, nil, told, out)
}

// location is where the fake's datasets are.
const location = "EU"

// section names the fake in a configuration.
func section(fake *bigqueryfake.Fake) string {
	return fmt.Sprintf("warehouse:\n  kind: bigquery\n  project: %s\n  location: %s\n  endpoints: {jobs: %q, writes: %q}\n",
		fake.Project(), location, strings.TrimSuffix(fake.URL(), "/"), fake.GRPCAddr())
}
