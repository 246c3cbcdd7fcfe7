// Command serve runs the MongoDB fake for people and for tests that kill it. It
// serves the folder that is its first argument. What follows is a command, which it
// runs with the connection string as MONGODB_URI, and whose exit status is its own;
// without one, it prints the connection string and serves until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"millrace/internal/testkit/accompany"
	"millrace/internal/testkit/mongofake"
)

func main() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, syscall.SIGTERM)
	err := run(context.Background(), os.Args[1:], told, os.Stdout, os.Stderr)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		os.Exit(exit.ExitCode()) // what was wrong, the command has said
	case err != nil:
		fmt.Fprintln(os.Stderr, "mongofake: "+err.Error())
		os.Exit(1)
	}
}

// run serves until the command ends or, if there is none, until it is told to end.
func run(ctx context.Context, args []string, told <-chan os.Signal, out, messages io.Writer) (err error) {
	flags := flag.NewFlagSet("mongofake", flag.ContinueOnError)
	flags.SetOutput(messages)
	var opts mongofake.Options
	flags.IntVar(&opts.Port, "port", 0, "`port` to listen at on 127.0.0.1; 0: a free one")
	flags.StringVar(&opts.User, "user", "", "`name` that must log in")
	flags.StringVar(&opts.Password, "password", "", "the user's `password`")
	uri := flags.String("uri-file", "", "`file` to write the connection string to")
	flags.Usage = func() {
		fmt.Fprintln(messages, "usage: mongofake [flags] FOLDER [COMMAND …]")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("usage: mongofake [flags] FOLDER [COMMAND …]: FOLDER holds the data, and is made if it is not there; COMMAND is run beside it")
	}
	opts.Dir = flags.Arg(0)
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	fake, err := mongofake.Start(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fake.Close()) }()
	if *uri != "" {
		if err := say(*uri, fake.URI()); err != nil {
			return fmt.Errorf("say where it is: %w", err)
		}
	}
	if command := flags.Args()[1:]; len(command) > 0 {
		return accompany.Run(command, []string{"MONGODB_URI=" + fake.URI()}, told, out)
	}
	fmt.Fprintln(out, fake.URI())
	<-told
	return nil
}

// say writes a file that readers see whole or not at all.
func say(path, text string) error {
	fresh := filepath.Clean(path) + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
