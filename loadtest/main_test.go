package loadtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"millrace/internal/kafka"
	"millrace/internal/kafka/embedded"
	"millrace/internal/testkit"
)

// brokerFolder names the data folder in the environment of a child that is the
// broker.
const brokerFolder = "MILLRACE_BENCH_BROKER"

// TestMain lets the test binary be the broker: in a process of its own its CPU
// is not counted with that of what is measured.
func TestMain(m *testing.M) {
	if dir := os.Getenv(brokerFolder); dir != "" {
		if err := serveBroker(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m, testkit.IgnoreServers(),
		// A metrics worker of BigQuery's client, which ends with the process.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// serveBroker runs until its standard input ends, so that it outlives its
// parent in no case.
func serveBroker(dir string) error {
	broker, err := embedded.Start(context.Background(), embedded.Options{Dir: dir})
	if err != nil {
		return err
	}
	fmt.Println(broker.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	if closed := broker.Close(); err == nil {
		err = closed
	}
	return err
}

// startBroker starts the embedded broker as a child, which ends with the
// benchmark.
func startBroker(b *testing.B) kafka.Cluster {
	b.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), brokerFolder+"="+b.TempDir())
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close() // it ends by that
		if err := child.Wait(); err != nil {
			b.Errorf("broker: %v", err)
		}
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatalf("read the broker's address: %v", err)
	}
	return kafka.Cluster{Brokers: []string{strings.TrimSpace(addr)}, Embedded: true}
}
