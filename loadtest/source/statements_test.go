package source

import (
	"context"
	"errors"
	"strings"
	"testing"

	"millrace/loadtest/workload"
)

// A transaction is one statement for each kind of change, by key, and a row keeps
// its place in it whatever its values are.
func TestTransaction(t *testing.T) {
	p := Place{Kind: "postgres", DSN: "postgres://u@h/d", Prefix: "x_t", Spec: workload.Spec{Seed: 1, Tables: 1, Width: 5, Types: []workload.Type{workload.Decimal}, Toast: 1}}
	db, err := openPostgres(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	var b strings.Builder
	db.(*postgres).dialect.transaction(&b, p, workload.Tx{
		{Kind: workload.Update, Key: 9, Version: 1},
		{Kind: workload.Insert, Key: 5},
		{Kind: workload.Key, Key: 6, Old: 3},
		{Kind: workload.Delete, Key: 8},
		{Kind: workload.Update, Key: 7, Version: 1},
		{Kind: workload.Update, Key: 2, Version: rewrite},
		{Kind: workload.Delete, Key: 4},
	})
	var shapes []string
	for _, s := range strings.Split(strings.TrimSuffix(b.String(), ";"), ";") {
		head, values, _ := strings.Cut(s, "(VALUES ")
		if values != "" {
			head += values[:strings.Index(values, "::")]
		}
		shapes = append(shapes, strings.SplitN(head, " VALUES", 2)[0])
	}
	want := []string{
		"BEGIN", "INSERT INTO x_t1 (id,intended_us,created_at,note,decimal_1)",
		"UPDATE x_t1 t SET intended_us=v.intended_us,created_at=v.created_at,decimal_1=v.decimal_1 FROM (7",
		"UPDATE x_t1 t SET intended_us=v.intended_us,created_at=v.created_at,note=v.note,decimal_1=v.decimal_1 FROM (2",
		"DELETE FROM x_t1 WHERE id IN (4,8)", "UPDATE x_t1 SET id=6,", "COMMIT",
	}
	if len(shapes) != len(want) {
		t.Fatalf("%d statements, want %d:\n%s", len(shapes), len(want), b.String())
	}
	for i := range want {
		if !strings.HasPrefix(shapes[i], want[i]) {
			t.Errorf("statement %d is %s, want %s", i, shapes[i], want[i])
		}
	}
}

// rewrite is a version that brings a note of its own.
const rewrite = 4

// Only what two writers did to each other is tried again, and not for ever.
func TestRetried(t *testing.T) {
	deadlock, other := errors.New("deadlock"), errors.New("other")
	again := func(err error) bool { return errors.Is(err, deadlock) }
	for _, c := range []struct {
		errs  []error
		calls int
		want  error
	}{
		{[]error{nil}, 1, nil},
		{[]error{deadlock, deadlock, nil}, 3, nil},
		{[]error{deadlock, other}, 2, other},
	} {
		calls := 0
		err := retried(t.Context(), func() error { calls++; return c.errs[calls-1] }, again)
		if calls != c.calls || !errors.Is(err, c.want) {
			t.Errorf("%v: %d calls, %v", c.errs, calls, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := retried(ctx, func() error { return deadlock }, again); !errors.Is(err, deadlock) {
		t.Errorf("given up: %v", err)
	}
}

// A DSN that cannot be used never shows its password, and what MongoDB cannot hold
// is refused.
func TestOpenRefuses(t *testing.T) {
	for _, p := range []Place{
		{Kind: "postgres", DSN: "postgres://u:hunter2@h:port/d"},
		{Kind: "mariadb", DSN: "mysql://u:hunter2@%zz"},
		{Kind: "oracle"},
		{Kind: "mongodb", DSN: "mongodb://u:hunter2@h:port"},
		{Kind: "mongodb", DSN: "mongodb://h", Spec: workload.Spec{Mix: workload.Mix{Key: 1}}},
		{Kind: "mongodb", DSN: "mongodb://h", Spec: workload.Spec{Width: 4, Types: []workload.Type{workload.Date}}},
	} {
		if _, err := Open(p); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", p.Kind, err)
		}
	}
}
