// Command millrace keeps a warehouse a faithful, fresh copy of many databases,
// and keeps the tables derived from it up to date.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes the command and returns the exit code.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	root := newRoot(out, errs)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		printError(errs, err)
		return 1
	}
	return 0
}
