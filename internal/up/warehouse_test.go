package up

import (
	"log/slog"
	"strings"
	"testing"

	"millrace/internal/config"
	"millrace/internal/testkit/bigqueryfake"
)

// The addresses of a configuration are all that is needed to reach what stands
// in for BigQuery.
func TestOpenBigQuery(t *testing.T) {
	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &config.Config{Prefix: "p", Warehouse: config.Warehouse{Kind: config.KindBigQuery, BigQuery: config.BigQuery{
		Project: fake.Project(), Location: "US", JobsURL: strings.TrimSuffix(fake.URL(), "/"), WritesAddr: fake.GRPCAddr(),
	}}}
	w, err := openWarehouse(t.Context(), c, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	answer, err := w.Select(t.Context(), "SELECT 1 AS n", 1)
	if err != nil || len(answer.Rows) != 1 || *answer.Rows[0][0] != "1" {
		t.Errorf("%+v %v", answer, err)
	}
	p := &process{Options: Options{Config: c}, warehouse: w}
	if err := p.checkPrefix(t.Context()); err != nil {
		t.Errorf("an empty project: %v", err)
	}
}
