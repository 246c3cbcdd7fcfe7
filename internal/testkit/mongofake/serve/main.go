// Command serve runs the MongoDB fake for people and for tests that kill it. It
// serves the folder that is its argument until it is interrupted, and prints
// its connection string first.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"millrace/internal/testkit/mongofake"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mongofake: "+err.Error())
		stop()
		os.Exit(1)
	}
}

// run serves until the context ends.
func run(ctx context.Context, args []string, out, messages io.Writer) (err error) {
	flags := flag.NewFlagSet("mongofake", flag.ContinueOnError)
	flags.SetOutput(messages)
	var opts mongofake.Options
	flags.IntVar(&opts.Port, "port", 0, "`port` to listen at on 127.0.0.1; 0: a free one")
	flags.StringVar(&opts.User, "user", "", "`name` that must log in")
	flags.StringVar(&opts.Password, "password", "", "the user's `password`")
	uri := flags.String("uri-file", "", "`file` to write the connection string to")
	flags.Usage = func() {
		fmt.Fprintln(messages, "usage: mongofake [flags] FOLDER")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("usage: mongofake [flags] FOLDER: FOLDER holds the data, and is made if it is not there")
	}
	opts.Dir = flags.Arg(0)
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	fake, err := mongofake.Start(context.WithoutCancel(ctx), opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fake.Close()) }()
	if *uri != "" {
		if err := say(*uri, fake.URI()); err != nil {
			return fmt.Errorf("say where it is: %w", err)
		}
	}
	fmt.Fprintln(out, fake.URI())
	<-ctx.Done()
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
