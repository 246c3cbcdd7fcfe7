// Command loadtest measures whole paths through Millrace, each beside its limit,
// and accounts for every row.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"millrace/loadtest/child"
	"millrace/loadtest/scenario"
)

func main() {
	if played, code := child.Serve(context.Background(), scenario.Roles()); played {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
