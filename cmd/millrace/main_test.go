package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be millrace itself: tests start it as a child
// process, so that they can kill it.
func TestMain(m *testing.M) {
	if os.Getenv("MILLRACE_TEST_MAIN") != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// A process that cannot end is ended, and none is that was not asked to.
func TestEndIsBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	endWithin(ctx, time.Millisecond, func() { close(ended) })
	select {
	case <-ended:
		t.Error("ended before it was asked to")
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	<-ended
}
