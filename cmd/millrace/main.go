// Command millrace keeps a warehouse a faithful, fresh copy of many databases,
// and keeps the tables derived from it up to date.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"millrace/internal/up"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	endWithin(ctx, up.StopsWithin, func() {
		fmt.Fprintf(os.Stderr, "millrace: has not ended %s after it was asked to: what is not committed is repeated at the next start\n", up.StopsWithin)
		os.Exit(1)
	})
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// endWithin calls end when the process still runs so long after ctx has ended.
func endWithin(ctx context.Context, bound time.Duration, end func()) {
	context.AfterFunc(ctx, func() { time.AfterFunc(bound, end) })
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
