package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/internal/page"
	"millrace/internal/testkit"
	"millrace/internal/up"
)

// BenchmarkUp starts what `make build` has made, beside a PostgreSQL with a
// million rows, waits until they are in the warehouse, and starts it again. It
// reports the size of the binary, the times from the start to /readyz, the
// resident memory when all was loaded, and the most there was.
func BenchmarkUp(b *testing.B) {
	binary, err := filepath.Abs("../bin/millrace")
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(binary)
	if err != nil {
		testkit.Unable(b, binary+", which make build makes")
	}
	const rows = 1_000_000
	dsn := testkit.PostgresDatabase(b)
	db := testkit.Open(b, dsn)
	for _, statement := range []string{
		`CREATE TABLE items (id bigint PRIMARY KEY, customer_id bigint, status text, email text, note text,
			amount numeric(18,4), created_at timestamptz, is_paid boolean, score float8, quantity int)`,
		fmt.Sprintf(`INSERT INTO items SELECT i, i * 7 %% 99991, 'SHIPPED', 'user' || i || '@example.com', 'leave at door, call before ' || i,
			i / 100.0, '2026-01-01T00:00:00Z'::timestamptz + i * interval '1 second', i %% 2 = 0, i / 3.0, i %% 1000 FROM generate_series(1, %d) i`, rows),
	} {
		if _, err := db.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	var first, again, load time.Duration
	var resident, peak float64
	for b.Loop() {
		dir := b.TempDir()
		config := fmt.Sprintf("prefix: bench\ndata: %s\nhttp: 127.0.0.1:0\nsources:\n  shop:\n    kind: postgres\n    dsn: %q\n    tables:\n      public.items: {event_time: created_at}\n",
			filepath.Join(dir, "data"), dsn)
		if err := os.WriteFile(filepath.Join(dir, "millrace.yaml"), []byte(config), 0o644); err != nil {
			b.Fatal(err)
		}
		p := &millrace{b: b, binary: binary, dir: dir}
		first = p.start()
		began := time.Now()
		p.await(fmt.Sprintf("%d rows", rows), 250*time.Millisecond, func() bool { return p.count("core.items") == rows })
		load = time.Since(began)
		resident, peak = p.memory("VmRSS"), p.memory("VmHWM")
		p.stop()
		again = p.start()
		p.stop()
	}
	b.ReportMetric(float64(info.Size())/1e6, "binary-MB")
	b.ReportMetric(first.Seconds(), "ready-s")
	b.ReportMetric(again.Seconds(), "ready-again-s")
	b.ReportMetric(rows/load.Seconds(), "rows/s")
	b.ReportMetric(resident, "resident-MB")
	b.ReportMetric(peak, "peak-MB")
}

// millrace is a running `millrace up`.
type millrace struct {
	b           *testing.B
	binary, dir string
	child       *exec.Cmd
	at          up.RunFile
}

// start returns the time from the start to being ready.
func (p *millrace) start() time.Duration {
	p.b.Helper()
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		p.b.Fatal(err)
	}
	defer log.Close()
	p.child = exec.Command(p.binary, "up", "--config", "millrace.yaml")
	p.child.Dir, p.child.Stdout, p.child.Stderr = p.dir, log, log
	began := time.Now()
	if err := p.child.Start(); err != nil {
		p.b.Fatal(err)
	}
	p.await("readiness", 2*time.Millisecond, p.ready)
	return time.Since(began)
}

func (p *millrace) ready() bool {
	at, err := up.Find(filepath.Join(p.dir, "data"))
	if err != nil || at.PID != p.child.Process.Pid {
		return false
	}
	p.at = at
	resp, err := http.Get("http://" + at.HTTP + "/readyz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (p *millrace) await(what string, pause time.Duration, ok func() bool) {
	p.b.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(pause) {
		if time.Now().After(end) || p.child.Process.Signal(syscall.Signal(0)) != nil {
			log, _ := os.ReadFile(filepath.Join(p.dir, "log")) // what there is of it
			p.b.Fatalf("waited in vain: %s\n%s", what, log)
		}
	}
}

// count is -1 while there is no such table.
func (p *millrace) count(table string) int {
	client := &page.Client{Addr: p.at.HTTP}
	got, err := client.Query(p.b.Context(), "SELECT count(*) FROM "+table)
	if err != nil || len(got.Rows) != 1 || got.Rows[0][0] == nil {
		return -1
	}
	n, err := strconv.Atoi(*got.Rows[0][0])
	if err != nil {
		p.b.Fatal(err)
	}
	return n
}

// memory reads a line of /proc/PID/status, in MB; where there is none it is 0.
func (p *millrace) memory(name string) float64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.child.Process.Pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				p.b.Fatal(err)
			}
			return kb * 1024 / 1e6
		}
	}
	return 0
}

func (p *millrace) stop() {
	p.b.Helper()
	if err := p.child.Process.Signal(syscall.SIGTERM); err != nil {
		p.b.Fatal(err)
	}
	if err := p.child.Wait(); err != nil {
		p.b.Fatalf("end of millrace up: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}
