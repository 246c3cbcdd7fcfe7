package bigquery

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"cloud.google.com/go/bigquery/storage/managedwriter"
	"google.golang.org/api/option"
	"google.golang.org/grpc"

	"millrace/internal/testkit"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// asFake tells a child that it is the fake: in a process of its own its CPU is
// not counted with that of what is measured. fewRows tells one that a test only
// wants to see that benchmarks run.
const (
	asFake  = "MILLRACE_BENCH_FAKE"
	fewRows = "MILLRACE_BENCH_FEW_ROWS"
)

// Each benchmark runs once, so that none is broken without notice. In a child,
// the test is the fake.
func TestBenchmarks(t *testing.T) {
	if os.Getenv(asFake) != "" {
		serveFake(t)
		return
	}
	slow(t)
	run := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$", "-test.bench=.", "-test.benchtime=1x")
	run.Env = append(os.Environ(), fewRows+"=1")
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"BenchmarkRow/", "BenchmarkStage", "BenchmarkLoad/rows=1000"} {
		if !strings.Contains(string(out), name) {
			t.Errorf("%s did not run:\n%s", name, out)
		}
	}
}

// serveFake runs until its standard input ends, so that it outlives its parent in
// no case.
func serveFake(t *testing.T) {
	t.Helper()
	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{Discard: true})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(fake.URL(), fake.GRPCAddr())
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Error(err)
	}
	if err := fake.Close(); err != nil {
		t.Error(err)
	}
}

// openFake is a warehouse whose service is a child, which reads rows and keeps
// none.
func openFake(b *testing.B, opts Options) *Warehouse {
	b.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestBenchmarks$")
	child.Env, child.Stderr = append(os.Environ(), asFake+"=1"), os.Stderr
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
	lines := bufio.NewReader(stdout)
	b.Cleanup(func() {
		_ = stdin.Close() // it ends by that
		if said, _ := io.ReadAll(lines); child.Wait() != nil {
			b.Errorf("the fake: %s", said)
		}
	})
	line, err := lines.ReadString('\n')
	if err != nil {
		b.Fatalf("read where the fake is: %v", err)
	}
	opts.Project, opts.Location = "test-project", "US"
	opts.Endpoints.Jobs, opts.Endpoints.Writes, _ = strings.Cut(strings.TrimSpace(line), " ")
	w, err := Open(b.Context(), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := w.Close(); err != nil {
			b.Error(err)
		}
	})
	return w
}

// BenchmarkStage stages the events of 12 columns, from their Avro bytes. Its limit
// is to send the same rows by the same client, and nothing else: how many times
// as long the stage takes is said by the CPU of this process, and by the clock.
func BenchmarkStage(b *testing.B) {
	n := 50_000
	if os.Getenv(fewRows) != "" {
		n = 500
	}
	w := openFake(b, Options{})
	s := newScalars(b, 12)
	if err := w.Ensure(b.Context(), s.table); err != nil {
		b.Fatal(err)
	}
	t, err := w.entry(s.table.Name)
	if err != nil {
		b.Fatal(err)
	}
	stage := func() {
		if _, err := w.stage(b.Context(), t, s.core, &warehouse.Batch{Table: s.table, Rows: s.rows(n)}); err != nil {
			b.Fatal(err)
		}
	}
	stage() // opens the stream
	requests := prepare(b, s, n)
	var cpu, sendCPU, clock, sendClock time.Duration
	measure := func(cpu, clock *time.Duration, do func()) {
		c, began := testkit.CPUTime(), time.Now()
		do()
		*cpu, *clock = *cpu+testkit.CPUTime()-c, *clock+time.Since(began)
	}
	for b.Loop() {
		b.StopTimer()
		measure(&sendCPU, &sendClock, func() { sendAll(b, t, requests) })
		b.StartTimer()
		measure(&cpu, &clock, stage)
	}
	b.ReportMetric(float64(b.N*n)/cpu.Seconds(), "rows/cpu-s")
	b.ReportMetric(float64(b.N*n)/sendCPU.Seconds(), "send-rows/cpu-s")
	b.ReportMetric(cpu.Seconds()/sendCPU.Seconds(), "times-send")
	b.ReportMetric(clock.Seconds()/sendClock.Seconds(), "times-send-clock")
}

// prepare makes the rows of requests as large as those of a load.
func prepare(b *testing.B, s *scalars, n int) (requests [][][]byte) {
	b.Helper()
	e, _, err := newEncoder(s.core, s.table, "b", 0)
	if err != nil {
		b.Fatal(err)
	}
	rows, size := s.rows(n), maxRequest
	for range n {
		row, err := e.next(rows)
		if err != nil {
			b.Fatal(err)
		}
		if size += len(row) + rowFrame; size > maxRequest {
			requests, size = append(requests, nil), len(row)+rowFrame
		}
		last := &requests[len(requests)-1]
		*last = append(*last, row)
	}
	return requests
}

func sendAll(b *testing.B, t *table, requests [][][]byte) {
	b.Helper()
	out := t.takeStream()
	var waiting []*managedwriter.AppendResult
	for i, rows := range requests {
		result, err := out.AppendRows(b.Context(), rows, managedwriter.WithOffset(out.offset))
		if err != nil {
			b.Fatal(err)
		}
		out.offset += int64(len(rows))
		waiting = append(waiting, result)
		for len(waiting) >= depth || i == len(requests)-1 && len(waiting) > 0 {
			if _, err := waiting[0].FullResponse(b.Context()); err != nil {
				b.Fatal(err)
			}
			waiting = waiting[1:]
		}
	}
	t.giveStream(out)
}

// BenchmarkLoad is what one load costs beside BigQuery's own time: overhead-ms is
// the time of Load during which no call was on its way, service-ms the rest, and
// cpu-ms the CPU of this process.
func BenchmarkLoad(b *testing.B) {
	calls := &underway{}
	w := openFake(b, Options{
		Jobs: []option.ClientOption{option.WithHTTPClient(&http.Client{Transport: calls})},
		Writes: []option.ClientOption{option.WithGRPCDialOption(grpc.WithChainStreamInterceptor(
			func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
				s, err := open(ctx, desc, cc, method, opts...)
				return &timedStream{s, calls}, err
			}))},
	})
	s := newScalars(b, 12)
	if err := w.Ensure(b.Context(), s.table); err != nil {
		b.Fatal(err)
	}
	head, err := w.Acquire(b.Context(), s.table.Name, "topic", "id")
	if err != nil {
		b.Fatal(err)
	}
	load := func(n int) {
		head.Load++
		_, err := w.Load(b.Context(), &warehouse.Batch{
			Table: s.table, Epoch: head.Epoch, Load: head.Load, Partitions: 1, Rows: s.rows(n), Counts: schemas.RowCounts{Read: int64(n)},
			Ranges: []schemas.Range{{Topic: "topic", From: head.Load, To: head.Load + 1}}, StartedAt: time.Now(),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	load(1) // opens the stream
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			began, busy, cpu := time.Now(), calls.total(), testkit.CPUTime()
			for b.Loop() {
				load(n)
			}
			all, service := time.Since(began), calls.total()-busy
			ms := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(b.N) }
			b.ReportMetric(ms(all-service), "overhead-ms")
			b.ReportMetric(ms(service), "service-ms")
			b.ReportMetric(ms(testkit.CPUTime()-cpu), "cpu-ms")
		})
	}
}

// underway adds up the time during which a call is on its way.
type underway struct {
	mu    sync.Mutex
	calls int
	since time.Time
	spent time.Duration
}

func (u *underway) change(by int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if u.calls > 0 {
		u.spent += now.Sub(u.since)
	}
	u.calls, u.since = u.calls+by, now
}

func (u *underway) total() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.spent
}

// RoundTrip implements http.RoundTripper.
func (u *underway) RoundTrip(in *http.Request) (*http.Response, error) {
	u.change(1)
	defer u.change(-1)
	return http.DefaultTransport.RoundTrip(in)
}

// timedStream counts a request as underway when it was handed over, which may be
// after its reply: the number of calls is then negative for a moment.
type timedStream struct {
	grpc.ClientStream
	calls *underway
}

func (s *timedStream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if _, ok := m.(*storagepb.AppendRowsRequest); ok && err == nil {
		s.calls.change(1)
	}
	return err
}

func (s *timedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if _, ok := m.(*storagepb.AppendRowsResponse); ok && err == nil {
		s.calls.change(-1)
	}
	return err
}
