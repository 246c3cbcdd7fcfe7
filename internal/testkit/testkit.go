// Package testkit gives tests the servers that they need: real databases of
// their own, and a Kafka cluster inside the test's process.
//
// A server that is not installed skips the test, with the word for it; with
// CI=true in the environment it fails the test, so that nothing is left out
// in silence.
package testkit

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Missing skips the test because something that it needs is not installed, and
// names the package that brings it. With CI=true the test fails.
func Missing(t testing.TB, what, install string) {
	t.Helper()
	const words = "missing: %s; install the package %s (make deps does)"
	if os.Getenv("CI") == "true" {
		t.Fatalf(words, what, install)
	} else {
		t.Skipf(words, what, install)
	}
}

// Unable skips the test because this system does not let it do something that it
// needs. With CI=true the test fails.
func Unable(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing: %s", why)
	} else {
		t.Skipf("missing: %s", why)
	}
}

// IgnoreServers is for goleak in packages whose tests use the servers that all
// tests of a process share: each has one goroutine that waits for its end.
func IgnoreServers() goleak.Option {
	return goleak.IgnoreAnyFunction("millrace/internal/privateserver.own")
}
