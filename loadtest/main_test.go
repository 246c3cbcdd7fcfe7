package main

import (
	"bufio"
	"context"
	"errors"
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
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/bigquery"
	"millrace/loadtest/child"
	"millrace/loadtest/scenario"
)

// What a child is told by its environment that it is: the broker, with its data
// folder, or BigQuery; or how many events a benchmark is to have.
const (
	brokerFolder = "MILLRACE_BENCH_BROKER"
	asBigQuery   = "MILLRACE_BENCH_BIGQUERY"
	eventsOfTest = "MILLRACE_BENCH_EVENTS"
)

// TestMain lets the test binary be the broker or BigQuery: in a process of its
// own its CPU is not counted with that of what is measured.
func TestMain(m *testing.M) {
	if played, code := child.Serve(context.Background(), scenario.Roles()); played {
		os.Exit(code)
	}
	var err error
	if dir := os.Getenv(brokerFolder); dir != "" {
		err = serveBroker(dir)
	} else if os.Getenv(asBigQuery) != "" {
		err = serveBigQuery()
	} else {
		goleak.VerifyTestMain(m, testkit.IgnoreServers(),
			// A metrics worker of BigQuery's client, which ends with the process.
			goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
			// Each connection of it leaves one that ends 20 s later.
			goleak.IgnoreAnyFunction("cloud.google.com/go/bigquery/storage/managedwriter.(*connection).getStream.func1"))
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Each part of the pipeline's benchmark runs once over few events, so that none is
// broken without notice. (Up needs what `make build` makes, and a million rows.)
func TestBenchmarks(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts processes")
	}
	run := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$", "-test.bench=Pipeline", "-test.benchtime=1x")
	run.Env = append(os.Environ(), eventsOfTest+"=2000")
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"poll", "load-bigquery", "load-discard", "load-duckdb"} {
		if !strings.Contains(string(out), "BenchmarkPipeline/"+name) {
			t.Errorf("%s did not run:\n%s", name, out)
		}
	}
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

// serveBigQuery likewise runs until its standard input ends.
func serveBigQuery() error {
	fake, err := bigqueryfake.Start(context.Background(), bigqueryfake.Options{Discard: true})
	if err != nil {
		return err
	}
	fmt.Println(fake.URL(), fake.GRPCAddr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, fake.Close())
}

func startBroker(b *testing.B) kafka.Cluster {
	b.Helper()
	addr := startChild(b, brokerFolder+"="+b.TempDir())
	return kafka.Cluster{Brokers: []string{addr}, Embedded: true}
}

// startBigQuery starts the fake and returns where its two APIs are.
func startBigQuery(b *testing.B) bigquery.Endpoints {
	b.Helper()
	jobs, writes, _ := strings.Cut(startChild(b, asBigQuery+"=1"), " ")
	return bigquery.Endpoints{Jobs: jobs, Writes: writes}
}

// startChild starts this binary as what the variable says. It ends with the
// benchmark. Its first line is returned: where it is.
func startChild(b *testing.B, variable string) string {
	b.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), variable)
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
			b.Errorf("child with %s: %v", variable, err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatalf("read where the child with %s is: %v", variable, err)
	}
	return strings.TrimSpace(line)
}
