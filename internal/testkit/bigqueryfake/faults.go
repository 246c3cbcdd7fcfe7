package bigqueryfake

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
)

// Fault is what goes wrong at a point. Make one with the functions below.
type Fault struct {
	kind    faultKind
	api     *apiError
	code    codes.Code
	release chan struct{}
}

type faultKind int

const (
	faultNone faultKind = iota
	faultRefuse
	faultCut  // before the effect
	faultLost // behind the effect
	faultFail
	faultFailLate
	faultHang
	faultGone
)

// Refuse answers the request with an error, and has no effect. The status is
// HTTP's; a gRPC method gets the code that goes with it. At a statement, it is
// the statement that fails.
func Refuse(status int, reason, message string) Fault {
	return Fault{kind: faultRefuse, api: &apiError{status, reason, message}, code: grpcCode(status)}
}

// Quota is the refusal of a quota that is spent.
func Quota(message string) Fault { return Refuse(http.StatusForbidden, "quotaExceeded", message) }

// Cut closes the connection inside the request, before it has an effect.
func Cut() Fault { return Fault{kind: faultCut} }

// LoseReply does what the request asks for, and closes the connection instead of
// answering.
func LoseReply() Fault { return Fault{kind: faultLost} }

// FailJob makes the job end in an error before it does anything. It belongs to
// the point "job".
func FailJob(reason, message string) Fault {
	return Fault{kind: faultFail, api: &apiError{http.StatusBadRequest, reason, message}}
}

// FailJobLate makes the job end in an error after it has done everything.
func FailJobLate(reason, message string) Fault {
	return Fault{kind: faultFailLate, api: &apiError{http.StatusBadRequest, reason, message}}
}

// Hang makes the job run for ever: until it is canceled, release is closed, or
// the fake is. At the point "job" it has done nothing; at a statement, what stood
// before it.
func Hang(release chan struct{}) Fault { return Fault{kind: faultHang, release: release} }

// StreamGone takes away the stream that an AppendRows names.
func StreamGone() Fault { return Fault{kind: faultGone} }

// possible are the kinds of faults that happen at a point.
func possible(name string) []faultKind {
	switch {
	case name == "job":
		return []faultKind{faultRefuse, faultFail, faultFailLate, faultHang}
	case strings.HasPrefix(name, "statement "):
		return []faultKind{faultRefuse, faultHang}
	case name == "AppendRows":
		return []faultKind{faultRefuse, faultCut, faultLost, faultHang, faultGone}
	}
	return []faultKind{faultRefuse, faultCut, faultLost, faultHang}
}

type point struct {
	name string
	nth  int
}

type faults struct {
	mu     sync.Mutex
	reach  map[string]int
	plan   map[point]Fault
	fired  []string
	closed chan struct{}
}

// On runs the fault when the point is reached for the nth time from now, n from
// 1. Points are the REST methods ("jobs.insert", "jobs.get", "jobs.cancel",
// "jobs.query", "jobs.getQueryResults", "tables.insert", "datasets.get", …), the
// gRPC methods ("AppendRows", once for each request, "CreateWriteStream", …),
// "job" for a job that begins to run, and "statement X" for a statement that
// begins with the keyword X ("statement MERGE", "statement COMMIT").
//
// A fault that cannot happen at the point is a mistake of the test: On panics.
func (f *Fake) On(name string, nth int, fault Fault) {
	if nth < 1 || !slices.Contains(possible(name), fault.kind) {
		panic(fmt.Sprintf("bigqueryfake: this fault does not happen at %s#%d", name, nth))
	}
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	if f.faults.plan == nil {
		f.faults.plan = map[point]Fault{}
	}
	f.faults.plan[point{name, f.faults.reach[name] + nth}] = fault
}

// Off takes back the faults of a point that have not happened.
func (f *Fake) Off(name string) {
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	maps.DeleteFunc(f.faults.plan, func(p point, _ Fault) bool { return p.name == name })
}

// Calls says how often each point was reached.
func (f *Fake) Calls() map[string]int {
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	return maps.Clone(f.faults.reach)
}

// Fired lists the faults that have happened, as point and number.
func (f *Fake) Fired() []string {
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	return append([]string(nil), f.faults.fired...)
}

// at counts that the point is reached, and returns what goes wrong there.
func (p *faults) at(name string) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reach == nil {
		p.reach = map[string]int{}
	}
	p.reach[name]++
	key := point{name, p.reach[name]}
	fault, ok := p.plan[key]
	if ok {
		delete(p.plan, key)
		p.fired = append(p.fired, fmt.Sprintf("%s#%d", name, key.nth))
	}
	return fault
}

// done is closed when the fake is.
func (p *faults) done() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed == nil {
		p.closed = make(chan struct{})
	}
	return p.closed
}

func (p *faults) release() { close(p.done()) }

func grpcCode(status int) codes.Code {
	switch status {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusConflict:
		return codes.AlreadyExists
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	}
	return codes.Internal
}
