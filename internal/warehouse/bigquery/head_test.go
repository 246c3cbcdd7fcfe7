package bigquery

import (
	"context"
	"errors"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
)

// A transaction of an owner that died is open for long. Who takes the table over
// hears of it, and has it later.
func TestAcquireHasABound(t *testing.T) {
	slow(t)
	p := newProject(t)
	c, d := newConsumer(t, p), newDeriver(t, p, days())
	opts := fakeOptions(p.fake)
	opts.Patience = 50 * time.Millisecond
	other, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	for of, table := range map[string]struct{ write, acquire func(context.Context) error }{
		"core": {
			func(ctx context.Context) error { return c.try(ctx, t) },
			func(ctx context.Context) error {
				_, err := other.Acquire(ctx, c.table.Name, "topic", "id")
				return err
			},
		},
		"derived": {
			func(ctx context.Context) error { _, err := d.runner.Commit(ctx, d.step(1)); return err },
			func(ctx context.Context) error {
				_, err := other.newRunner().Acquire(ctx, d.table, -1)
				return err
			},
		},
	} {
		before, release, done := len(p.fake.Fired()), make(chan struct{}), make(chan error)
		p.fake.On("statement COMMIT", 1, bigqueryfake.Hang(release))
		go func() { done <- table.write(t.Context()) }()
		for len(p.fake.Fired()) == before {
			time.Sleep(time.Millisecond)
		}
		if err := table.acquire(t.Context()); !errors.Is(err, warehouse.ErrBusy) {
			t.Errorf("%s: got %v", of, err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Errorf("%s: what held it: %v", of, err)
		}
		if err := table.acquire(t.Context()); err != nil {
			t.Errorf("%s: later: %v", of, err)
		}
	}
}
