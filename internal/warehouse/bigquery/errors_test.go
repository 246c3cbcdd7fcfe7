package bigquery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
)

// Who starts must tell an outage, which passes, from what a person must cure.
func TestWhatPasses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		point  string
		fault  bigqueryfake.Fault
		passes bool
	}{
		"list: 503":           {"tables.list", bigqueryfake.Refuse(503, "backendError", "no"), true},
		"list: 403":           {"tables.list", bigqueryfake.Refuse(403, "accessDenied", "no"), false},
		"insert: 503":         {"jobs.insert", bigqueryfake.Refuse(503, "backendError", "no"), true},
		"insert: quota":       {"jobs.insert", bigqueryfake.Quota("Quota exceeded"), true},
		"insert: 401":         {"jobs.insert", bigqueryfake.Refuse(401, "authError", "expired"), false},
		"insert: no role":     {"jobs.insert", bigqueryfake.Refuse(403, "accessDenied", "no"), false},
		"insert: 400":         {"jobs.insert", bigqueryfake.Refuse(400, "invalidQuery", "no"), false},
		"job: backend":        {"job", bigqueryfake.FailJob("backendError", "no"), true},
		"job: no role":        {"job", bigqueryfake.FailJob("accessDenied", "no"), false},
		"describe table: 503": {"tables.get", bigqueryfake.Refuse(503, "backendError", "no"), true},
		"describe table: 403": {"tables.get", bigqueryfake.Refuse(403, "accessDenied", "no"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			consumer := newConsumer(t, p)
			consumer.acquire(t)
			p.w.opts.Patience = 20 * time.Millisecond
			ask := map[string]func() error{
				"jobs.insert": func() error {
					_, err := p.w.Dialect().Columns(t.Context(), "SELECT 1 AS n", nil)
					return errors.Join(err, p.w.SetNeeds(t.Context(), "core.all", "s", warehouse.Kept{}))
				},
				"tables.get": func() error {
					_, err := p.w.Core(t.Context(), "core.all")
					return err
				},
				"job": func() error { return p.w.SetNeeds(t.Context(), "core.all", "s", warehouse.Kept{}) },
			}[c.point]
			if ask == nil {
				ask = func() error {
					_, _, err := p.w.Loaded(t.Context())
					return err
				}
			}
			for nth := range 300 {
				p.fake.On(c.point, nth+1, c.fault)
			}
			err := ask()
			if err == nil || errors.Is(err, warehouse.ErrUnavailable) != c.passes {
				t.Errorf("passes: %v, want %v: %v", !c.passes, c.passes, err)
			}
			if strings.Contains(err.Error(), warehouse.ErrUnavailable.Error()) {
				t.Errorf("the message is not the service's: %v", err)
			}
		})
	}
	if err := passing(fmt.Errorf("read: %w", warehouse.ErrNoTable)); errors.Is(err, warehouse.ErrUnavailable) {
		t.Errorf("%v is no outage", err)
	}
}

func TestClasses(t *testing.T) {
	call := func(code int, reason, message string) error {
		e := &googleapi.Error{Code: code, Message: message}
		if reason != "" {
			e.Errors = []googleapi.ErrorItem{{Reason: reason, Message: message}}
		}
		return fmt.Errorf("make job: %w", e)
	}
	job := func(reason, message string) error { return &jobError{reason: reason, message: message} }
	for name, c := range map[string]struct {
		err  error
		want class
		hint string
	}{
		"no project":              {call(404, "notFound", "Not found: Project p"), fatal, hintProject},
		"a page of a proxy":       {call(403, "", ""), fatal, hintEndpoint},
		"a path that is not":      {call(404, "", ""), fatal, hintEndpoint},
		"a method that is not":    {call(501, "notImplemented", "no"), fatal, ""},
		"a gateway":               {call(502, "", ""), unknown, hintOutage},
		"a backend":               {call(503, "backendError", "no"), unknown, hintOutage},
		"too many calls":          {call(429, "", ""), quota, hintQuota},
		"a daily quota":           {call(403, "quotaExceeded", "Custom quota exceeded"), quota, hintQuota},
		"table updates":           {job("rateLimitExceeded", "Exceeded rate limits: too many table update operations for this table."), quota, hintQuota},
		"queued statements":       {job("resourcesExceeded", "Resources exceeded during query execution: Too many DML statements outstanding against table x, limit is 20."), quota, hintQuota},
		"memory":                  {job("resourcesExceeded", "Resources exceeded during query execution: The query could not be executed in the allotted memory."), fatal, hintMemory},
		"a job's backend":         {job("backendError", "no"), again, ""},
		"a dataset elsewhere":     {job("notFound", "Not found: Dataset p:core was not found in location EU"), fatal, hintLocation},
		"a dataset there already": {job("duplicate", "Already Exists: Dataset p:core"), fatal, hintLocation},
		"a table that is gone":    {job("notFound", "Not found: Table p:millrace.x was not found in location EU"), fatal, hintGone},
		"a dropped column":        {job("invalidQuery", "Column `note` was recently deleted in the table `x`. Deleted column name is reserved for up to the time travel duration"), fatal, hintColumn},
		"partitions of a table":   {job("invalidQuery", "Quota exceeded: Table exceeds the limit of 10000 partitions"), fatal, hintPartitions},
		"an append without role":  {status.Error(codes.PermissionDenied, "Permission 'TABLES_UPDATE_DATA' denied"), fatal, hintGrant},
		"an append without token": {status.Error(codes.Unauthenticated, "no"), fatal, hintRenew},
		"an append over quota":    {status.Error(codes.ResourceExhausted, "no"), quota, hintQuota},
		"a syntax error of ours":  {job("invalidQuery", "Syntax error"), fatal, ""},
	} {
		if got := classOf(c.err); got != c.want {
			t.Errorf("%s: class %d, want %d", name, got, c.want)
		}
		if got := hintOf(c.err); got != c.hint {
			t.Errorf("%s: hint %q, want %q", name, got, c.hint)
		}
	}
	if isMissing(call(404, "notFound", "Not found: Project p")) || isMissing(call(404, "", "")) || !isMissing(call(404, "notFound", "Not found: Table p:d.t")) {
		t.Error("what is missing is told from what is not known")
	}
}

// A server that answers everything with a page of its own is not asked again and
// again.
func TestPageInPlaceOfAnAnswer(t *testing.T) {
	calls := 0
	site := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		calls++
		out.Header().Set("Content-Type", "text/html")
		_, _ = out.Write([]byte("<html>Sign in</html>"))
	}))
	defer site.Close()
	w, err := Open(t.Context(), Options{
		Project: "p", Location: "EU", Endpoints: Endpoints{Jobs: site.URL, Writes: "127.0.0.1:1"}, RetryWait: time.Millisecond,
		Writes: []option.ClientOption{option.WithoutAuthentication()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := w.Count(t.Context(), "core.x"); err == nil || !strings.Contains(err.Error(), hintEndpoint) || calls != 1 {
		t.Errorf("%d calls, got %v", calls, err)
	}
}

// Waits end with what they waited for; that for the write path has an end of its own.
func TestPatience(t *testing.T) {
	_, w := newService(t)
	w.opts.Patience = 5 * time.Millisecond
	cause := &googleapi.Error{Code: 503, Message: "no", Errors: []googleapi.ErrorItem{{Reason: "backendError"}}}
	for _, c := range []class{unknown, quota, conflict} {
		pause := w.pauses()
		var waitErr error
		for waitErr == nil {
			waitErr = pause.wait(t.Context(), c)
		}
		err := unanswered(waitErr, cause)
		if !errors.Is(err, errPatience) || classOf(err) != unknown || err.Error() != cause.Error()+": "+hintOutage {
			t.Errorf("%s: got %v", c, err)
		}
	}
	pause := w.pauses()
	for range 6 {
		if err := pause.wait(t.Context(), lag); err != nil {
			t.Errorf("%s: %v", lag, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := unanswered(w.pauses().wait(ctx, lag), cause); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
