package bigquery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

func someTask(w *Warehouse) task {
	return task{what: "load", table: "core.Payments x", id: w.jobID("load", "core.payments", 1, 1), text: func(job string) string { return "SELECT '" + job + "'" }}
}

func TestOneJobALoadAndNoPolling(t *testing.T) {
	s, w := newService(t)
	s.made = func(int, string) fakeJob { return fakeJob{result: []string{"yes"}} }
	res, err := w.run(t.Context(), someTask(w))
	if err != nil || len(res.rows) != 1 || str(res.rows[0][0]) != "yes" {
		t.Fatalf("%v %v", res, err)
	}
	if got := s.called(); got != "insert 1, results, get" {
		t.Errorf("calls: %s", got)
	}
	job := s.jobs[res.job]
	if job == nil || !strings.Contains(job.text, res.job) {
		t.Errorf("the script of %s is %+v", res.job, job)
	}
	if job.labels["millrace_table"] != "core_payments_x" || job.labels["millrace"] != "load" {
		t.Errorf("labels %v", job.labels)
	}
}

// The reply to the making of a job is lost: the job is looked up, and there is
// no second one.
func TestLostReplyIsLookedUp(t *testing.T) {
	s, w := newService(t)
	s.made = func(int, string) fakeJob { return fakeJob{lost: true, result: []string{"once"}} }
	res, err := w.run(t.Context(), someTask(w))
	if err != nil || str(res.rows[0][0]) != "once" {
		t.Fatalf("%v %v", res, err)
	}
	if got := s.called(); !strings.HasPrefix(got, "insert 1, get, results") || len(s.jobs) != 1 {
		t.Errorf("%d jobs, calls: %s", len(s.jobs), got)
	}
}

func TestJobThatIsThereIsAdopted(t *testing.T) {
	s, w := newService(t)
	job := someTask(w)
	s.jobs[job.id+"_1"] = &fakeJob{result: []string{"earlier"}}
	res, err := w.run(t.Context(), job)
	if err != nil || str(res.rows[0][0]) != "earlier" {
		t.Fatalf("%v %v", res, err)
	}
}

// Another attempt has another id, and is made only when the one before has
// ended in an error that is worth it.
func TestAnotherAttemptAfterTheEnd(t *testing.T) {
	for _, c := range []struct {
		reason, message string
		attempts        int
		want            string
	}{
		{"backendError", "try again", 2, ""},
		{"invalidQuery", "Transaction is aborted due to concurrent update against table x", 2, ""},
		{"jobRateLimitExceeded", "too many", 2, ""},
		{"invalidQuery", "Syntax error", 1, "Syntax error"},
		{"invalidQuery", "Assertion failed: " + sqlgen.ReasonDuplicate, 1, "two staged rows have one key"},
		{"invalidQuery", "Query error: " + sqlgen.ReasonFenced + " at [7:1]", 1, "not this writer's"},
	} {
		t.Run(c.reason+c.message, func(t *testing.T) {
			s, w := newService(t)
			s.made = func(n int, _ string) fakeJob {
				if n == 1 {
					return fakeJob{reason: c.reason, message: c.message}
				}
				return fakeJob{result: []string{"second"}}
			}
			_, err := w.run(t.Context(), someTask(w))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if len(s.jobs) != c.attempts {
				t.Errorf("%d jobs, want %d: %s", len(s.jobs), c.attempts, s.called())
			}
			if isFenced := errors.Is(asFenced(err), warehouse.ErrFenced); isFenced != strings.Contains(c.message, sqlgen.ReasonFenced) {
				t.Errorf("fenced: %v", isFenced)
			}
		})
	}
}

func TestAttemptsEnd(t *testing.T) {
	s, w := newService(t)
	s.made = func(int, string) fakeJob { return fakeJob{reason: "backendError", message: "again"} }
	if _, err := w.run(t.Context(), someTask(w)); err == nil || len(s.jobs) != w.opts.Attempts {
		t.Errorf("%d jobs, %v", len(s.jobs), err)
	}
}

// A job that does not end is asked to stop when the caller gives up; nothing
// else is made in its place.
func TestJobThatNeverEnds(t *testing.T) {
	s, w := newService(t)
	s.made = func(int, string) fakeJob { return fakeJob{running: true} }
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if _, err := w.run(ctx, someTask(w)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if got := s.called(); !strings.HasSuffix(got, "cancel") || len(s.jobs) != 1 {
		t.Errorf("%d jobs, calls: %s", len(s.jobs), got)
	}
}

func TestWhatAPersonMustDoIsSaid(t *testing.T) {
	for code, want := range map[int]string{401: hintRenew, 403: hintGrant, 404: hintGone} {
		s, w := newService(t)
		s.made = func(int, string) fakeJob {
			return fakeJob{refused: code, reason: map[int]string{401: "authError", 403: "accessDenied", 404: "notFound"}[code], message: "Not found: Table p:d.t"}
		}
		_, err := w.run(t.Context(), someTask(w))
		if err == nil || !strings.Contains(err.Error(), want) || len(s.jobs) != 0 {
			t.Errorf("%d: got %v, want %s", code, err, want)
		}
	}
	for reason, want := range map[string]string{"accessDenied": hintGrant, "bytesBilledLimitExceeded": hintCap, "invalidQuery": hintPartitions} {
		s, w := newService(t)
		s.made = func(int, string) fakeJob {
			message := "no"
			if reason == "invalidQuery" {
				message = "Too many partitions produced by query"
			}
			return fakeJob{reason: reason, message: message}
		}
		if _, err := w.run(t.Context(), someTask(w)); err == nil || !strings.Contains(err.Error(), want) || len(s.jobs) != 1 {
			t.Errorf("%s: got %v, want %s", reason, err, want)
		}
	}
}

func TestJobIDs(t *testing.T) {
	_, w := newService(t)
	a, b := w.jobID("load", "core.a", 1, 12), w.jobID("load", "core.a", 11, 2)
	if a == b || a != w.jobID("load", "core.a", 1, 12) {
		t.Error("the id is not that of what the job does")
	}
	if w.jobID("load", "a b") == w.jobID("load", "a", "b") {
		t.Error("two names are one")
	}
	if got := sqlgen.Label("Ä.Core-" + strings.Repeat("x", 99)); !strings.HasPrefix(got, "__core-x") || len(got) != 63 {
		t.Errorf("label %s", got)
	}
	if fmt.Sprint(w.session) == "" {
		t.Error("no session")
	}
}
