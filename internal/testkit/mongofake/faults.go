package mongofake

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Fault is what goes wrong at a point. Make one with the functions below.
type Fault struct {
	kind    faultKind
	command *commandError
	delay   time.Duration
	release chan struct{}
}

type faultKind int

const (
	faultNone faultKind = iota
	faultRefuse
	faultCut  // before the effect
	faultLost // behind the effect
	faultSlow
	faultHang
	faultCursor
)

// Refuse answers the command with an error, and has no effect.
func Refuse(code int, name, message string, labels ...string) Fault {
	return Fault{kind: faultRefuse, command: &commandError{code, name, message, labels}}
}

// NotPrimary is the answer of a server that has just stepped down. The driver
// looks for the primary again.
func NotPrimary() Fault {
	return Refuse(10107, "NotWritablePrimary", "not primary", labelRetryable, labelResumable)
}

// RefuseLogin refuses a login. It belongs to the point "login".
func RefuseLogin() Fault {
	return Refuse(18, "AuthenticationFailed", "Authentication failed.")
}

// Cut closes the connection before the command has an effect.
func Cut() Fault { return Fault{kind: faultCut} }

// LoseReply does what the command asks for, and closes the connection instead
// of answering.
func LoseReply() Fault { return Fault{kind: faultLost} }

// LoseCursor takes the cursor away that a getMore names.
func LoseCursor() Fault { return Fault{kind: faultCursor} }

// Slow lets the command wait before it is run.
func Slow(d time.Duration) Fault { return Fault{kind: faultSlow, delay: d} }

// Hang lets the command wait until release is closed, or the fake is.
func Hang(release chan struct{}) Fault { return Fault{kind: faultHang, release: release} }

type point struct {
	name string
	nth  int
}

type faults struct {
	mu    sync.Mutex
	reach map[string]int
	plan  map[point]Fault
	fired []string
}

// On runs the fault when the point is reached for the nth time from now, n from
// 1. Points are the names of commands ("insert", "find", "commitTransaction", …);
// "watch" is an aggregate that opens a change stream, "watch.getMore" the getMore
// of one; "login" is each attempt to log in.
//
// A fault that cannot happen at the point is a mistake of the test: On panics.
func (f *Fake) On(name string, nth int, fault Fault) {
	if err := f.faults.on(name, nth, fault); err != nil {
		panic("mongofake: " + err.Error())
	}
}

func (p *faults) on(name string, nth int, fault Fault) error {
	cursor := name == "getMore" || name == "watch.getMore"
	if nth < 1 || fault.kind == faultNone || fault.kind == faultCursor && !cursor || name == "login" && fault.kind != faultRefuse {
		return fmt.Errorf("this fault does not happen at %s#%d", name, nth)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plan == nil {
		p.plan = map[point]Fault{}
	}
	p.plan[point{name, p.reach[name] + nth}] = fault
	return nil
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
	return slices.Clone(f.faults.fired)
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

// err is the answer that the fault gives; nil if it gives none.
func (f Fault) err() error {
	if f.command == nil {
		return nil
	}
	return f.command
}

// suffer does what a fault does before the command; false cuts the connection.
func (f *Fake) suffer(fault Fault, r *request) bool {
	switch fault.kind {
	case faultCut:
		return false
	case faultSlow:
		select {
		case <-time.After(fault.delay):
		case <-f.closing:
			return false
		}
	case faultHang:
		select {
		case <-fault.release:
		case <-f.closing:
			return false
		}
	case faultCursor:
		f.mu.Lock()
		delete(f.cursors, number(r.arg))
		f.mu.Unlock()
	}
	return true
}

// pointOf names what a command reaches.
func (f *Fake) pointOf(r *request) string {
	switch r.name {
	case "aggregate":
		if first := docOf(field(r.field("pipeline").Value, "0")); field(first, "$changeStream").Type != 0 {
			return "watch"
		}
	case "getMore":
		f.mu.Lock()
		defer f.mu.Unlock()
		if c := f.cursors[number(r.arg)]; c != nil && c.stream != nil {
			return "watch.getMore"
		}
	}
	return r.name
}
