package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
)

const childDir = "MILLRACE_TEST_BROKER_DIR"

// TestMain runs a broker instead of the tests if it is the child of one.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		runChild(dir)
		return
	}
	os.Exit(m.Run())
}

func runChild(dir string) {
	b, err := Start(context.Background(), Options{Dir: dir})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("addr", b.Addr())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "compact":
			b.cluster.Compact()
			fmt.Println("compacted")
		case "close":
			fmt.Println("closed", b.Close())
			return
		}
	}
}

// child is a broker in a process of its own.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	kafka.Cluster
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(c.kill)
	c.Cluster = kafka.Cluster{Brokers: []string{c.expect(t, "addr ")}, Embedded: true}
	return c
}

func (c *child) expect(t *testing.T, prefix string) string {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("the broker's process ended: %v", c.out.Err())
	}
	said, ok := strings.CutPrefix(c.out.Text(), prefix)
	if !ok {
		t.Fatalf("the broker's process said %q", c.out.Text())
	}
	return said
}

func (c *child) tell(t *testing.T, word string) {
	t.Helper()
	if _, err := io.WriteString(c.in, word+"\n"); err != nil {
		t.Fatal(err)
	}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *child) producer(t *testing.T, id string) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(c.ClientOpts("test", nil, nil), c.TransactionalOpts(id, 64<<20)...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// write is one transaction of n records per partition of topic d and one of
// topic p; it is left open unless commit.
func (c *child) write(t *testing.T, cl *kgo.Client, txn, n int, commit bool) {
	t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	var first kgo.FirstErrPromise
	for i := range n {
		for p := range int32(2) {
			r := &kgo.Record{Topic: "d", Partition: p, Value: fmt.Appendf(nil, "%d/%d/%d", txn, p, i)}
			cl.Produce(t.Context(), r, first.Promise())
		}
	}
	cl.Produce(t.Context(), &kgo.Record{Topic: "p", Key: []byte("k"), Value: strconv.AppendInt(nil, int64(txn), 10)}, first.Promise())
	if err := errors.Join(cl.Flush(t.Context()), first.Err()); err != nil {
		t.Fatal(err)
	}
	if !commit {
		return
	}
	if err := kafka.EndTransaction(t.Context(), cl, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}

// committed reads topic d up to its stable end, as counts of the records of
// each transaction. It ends with a record written by a plain producer in each
// partition, which a reader sees last.
func (c *child) committed(t *testing.T) map[int]int {
	t.Helper()
	cl, err := kgo.NewClient(append(append(c.ClientOpts("test", nil, nil), c.ConsumerOpts()...),
		kgo.ConsumeTopics("d"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for p := range int32(2) {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "d", Partition: p, Value: []byte("end")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	stable, err := kadm.NewClient(cl).ListCommittedOffsets(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	left := 2
	counts := make(map[int]int)
	for left > 0 {
		f := cl.PollFetches(t.Context())
		if err := f.Err0(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			end, _ := stable.Lookup("d", r.Partition)
			if string(r.Value) == "end" {
				if r.Offset+1 == end.Offset {
					left--
				}
				return
			}
			txn, _, _ := strings.Cut(string(r.Value), "/")
			n, _ := strconv.Atoi(txn)
			counts[n]++
		})
	}
	return counts
}

func (c *child) ensure(t *testing.T) {
	t.Helper()
	cl, err := kgo.NewClient(c.ClientOpts("test", nil, nil)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := kafka.EnsureTopics(t.Context(), cl, c.Data("d", 2, 0), c.Compacted("p", 0)); err != nil {
		t.Fatal(err)
	}
}

func TestKilledWithOpenTransactions(t *testing.T) {
	kills := 5
	if testing.Short() {
		kills = 3
	}
	dir := t.TempDir()
	want := make(map[int]int)
	txn := 0
	for start := range kills {
		c := startChild(t, dir)
		c.ensure(t)
		if err := c.AwaitStable(t.Context(), "d", "p"); err != nil {
			t.Fatal(err)
		}
		last := ""
		if _, err := c.Replay(t.Context(), "p", func(r *kgo.Record) error {
			last = string(r.Value)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if start > 0 && last != strconv.Itoa(txn) && last != strconv.Itoa(txn-1) {
			t.Fatalf("start %d: the last checkpoint is %s, of %d", start, last, txn)
		}
		got := c.committed(t)
		for n, records := range want {
			// The last transaction before a kill may be torn; none before it.
			if got[n] != records && n != txn {
				t.Fatalf("start %d: transaction %d has %d records of %d (the last one was %d)", start, n, got[n], records, txn)
			}
		}
		for n := range got {
			if want[n] == 0 {
				t.Fatalf("start %d: transaction %d was never committed, and is visible", start, n)
			}
		}
		// New ids at every start (trap: one id makes what is committed later invisible).
		a, b := c.producer(t, fmt.Sprint("a", start)), c.producer(t, fmt.Sprint("b", start))
		for range 5 {
			txn++
			c.write(t, a, txn, 4, true)
			want[txn] = 8
		}
		if got := c.committed(t); got[txn] != 8 || got[txn-4] != 8 {
			t.Fatalf("start %d: what a new transactional id committed is not visible: %v", start, got)
		}
		c.write(t, b, 1_000_000+start, 3, false)
		c.kill()
	}
}

func TestResumeAfterManyCheckpoints(t *testing.T) {
	total, perTxn := 1_000_000, 5_000
	if testing.Short() {
		total = 50_000
	}
	dir := t.TempDir()
	c := startChild(t, dir)
	c.ensure(t)
	cl := c.producer(t, "a")
	for n := 0; n < total; n += perTxn {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		var first kgo.FirstErrPromise
		for i := range perTxn {
			cl.Produce(t.Context(), &kgo.Record{Topic: "p", Key: []byte("k"), Value: strconv.AppendInt(nil, int64(n+i), 10)}, first.Promise())
		}
		if err := errors.Join(cl.Flush(t.Context()), first.Err()); err != nil {
			t.Fatal(err)
		}
		if err := kafka.EndTransaction(t.Context(), cl, kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	c.tell(t, "compact")
	c.expect(t, "compacted")
	c.kill()

	began := time.Now()
	c = startChild(t, dir)
	read, last := 0, ""
	if _, err := c.Replay(t.Context(), "p", func(r *kgo.Record) error {
		read, last = read+1, string(r.Value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("resumed at %s in %v after reading %d of %d records", last, time.Since(began), read, total)
	if last != strconv.Itoa(total-1) {
		t.Fatalf("resumed at %s of %d", last, total-1)
	}
	if read > perTxn {
		t.Fatalf("read %d records of a compacted topic", read)
	}
}

func TestFolderIsLocked(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	_, err := Start(t.Context(), Options{Dir: dir})
	var running *RunningError
	if !errors.As(err, &running) {
		t.Fatalf("a second broker on the folder: %v", err)
	}
	if want := fmt.Sprintf("already running, pid %d, Kafka at %s: stop that process, or give this one another data: folder", c.cmd.Process.Pid, c.Brokers[0]); !strings.Contains(err.Error(), want) {
		t.Fatalf("%q does not say %q", err, want)
	}
	c.kill()
	b, err := Start(t.Context(), Options{Dir: dir}) // a dead process holds no lock
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFailedStartUnlocks(t *testing.T) {
	dir := t.TempDir()
	b, err := Start(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if _, err := Start(t.Context(), Options{Dir: other, Addr: b.Addr()}); err == nil {
		t.Fatal("two brokers listen on one address")
	}
	again, err := Start(t.Context(), Options{Dir: other})
	if err != nil {
		t.Fatalf("the failed start kept the lock: %v", err)
	}
	for _, b := range []*Broker{b, again} {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCloseKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	c.ensure(t)
	cl := c.producer(t, "a")
	for txn := range 20 {
		c.write(t, cl, txn, 3, true)
	}
	cl.Close()
	c.tell(t, "close")
	c.expect(t, "closed <nil>")
	c.kill()
	c = startChild(t, dir)
	got := c.committed(t)
	for txn := range 20 {
		if got[txn] != 6 {
			t.Fatalf("transaction %d has %d records of 6", txn, got[txn])
		}
	}
}
