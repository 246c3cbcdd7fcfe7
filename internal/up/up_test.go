package up

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"millrace/internal/config"
	"millrace/internal/page"
)

// Who asks while the process starts gets no status or a whole one. The race
// detector sees to the rest.
func TestStatusWhileStarting(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	tables := map[string]config.Table{"public.orders": {Core: "core.orders"}}
	unreachable := config.Source{Kind: config.KindPostgres, DSN: "postgres://nobody@127.0.0.1:1/nothing", Tables: tables}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{
			Config: &config.Config{
				Prefix: "p", Data: t.TempDir(), HTTP: addr, Sources: map[string]config.Source{"orders_db": unreachable},
				Warehouse: config.Warehouse{LoadEvery: time.Second},
			},
			Parts: All(), Log: slog.New(slog.DiscardHandler),
		})
	}()
	client := page.Client{Addr: addr}
	deadline := time.Now().Add(time.Minute)
	for n := 0; n < 5; {
		s, err := client.Status(t.Context())
		if err != nil {
			select {
			case err := <-done:
				t.Fatalf("Run: %v", err)
			default:
			}
			if time.Now().After(deadline) {
				t.Fatalf("no status: %v", err)
			}
			continue
		}
		if len(s.Sources) != 1 || len(s.Core) != 1 {
			t.Errorf("%d sources, %d core tables", len(s.Sources), len(s.Core))
		}
		n++
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	client.HTTP.CloseIdleConnections()
}
