package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"millrace/internal/testkit"
)

// A disk that is full stops the loads, says so, and loses nothing: with room
// again everything arrives.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		testkit.Unable(t, "the right of root to mount a small disk")
	}
	dsn := testkit.PostgresDatabase(t)
	s := &shop{
		db: testkit.Open(t, dsn), name: "public.big",
		source: "SELECT count(*) || '|' || sum(id) || '|' || sum(length(x)) FROM public.big",
		core:   "SELECT count(*), sum(id), sum(length(x)) FROM core.big",
	}
	s.exec(t, "CREATE TABLE public.big (id bigint PRIMARY KEY, x text)", "INSERT INTO public.big VALUES (1, 'x')")
	i := newInstall(t, fmt.Sprintf("prefix: disk\ndata: ./data\nhttp: 127.0.0.1:0\nsources:\n  s: {kind: postgres, dsn: %q, tables: {public.big: {}}}\n", dsn), nil)
	disk := filepath.Join(i.dir, "data")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=12m"); err != nil {
		testkit.Unable(t, fmt.Sprintf("leave to mount a small disk: %v", err))
	}
	t.Cleanup(func() {
		i.kill()
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	i.start()
	i.awaitEqual(t, s)
	s.exec(t, "INSERT INTO public.big SELECT g, md5(g::text) || md5((-g)::text) FROM generate_series(2, 200000) g")
	i.await("somebody says that the disk is full", func() bool {
		status, err := i.client().Status(t.Context())
		if err != nil {
			return false
		}
		for _, c := range status.Core {
			if strings.Contains(c.Trouble, "No space left") {
				return true
			}
		}
		return strings.Contains(i.log.String(), "no space left")
	})
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=800m"); err != nil {
		t.Fatal(err)
	}
	i.awaitEqual(t, s)
}
