// Package fault names the places at which a program can be stopped by a test.
//
// Code with effects takes a Hook in its options and calls At before and after
// each of them. There is no global state, and a nil Hook, which is what runs in
// production, costs one comparison.
package fault

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrInjected is the reason of an error that a Plan has made.
var ErrInjected = errors.New("injected fault")

// Hook is called at a named point. An error that it returns is the error of the
// effect at that point; it may also never return.
type Hook func(ctx context.Context, point string) error

// At reports that the program has come to the point.
func (h Hook) At(ctx context.Context, point string) error {
	if h == nil {
		return nil
	}
	return h(ctx, point)
}

// Plan is a list of faults, each keyed to a point and how often it was reached.
// Its zero value has none and counts the points that are passed.
type Plan struct {
	mu     sync.Mutex
	reach  map[string]int
	faults map[key]func(context.Context) error
	fired  []string
}

type key struct {
	point string
	nth   int
}

// On runs act when the point is reached for the nth time from now, n from 1.
func (p *Plan) On(point string, nth int, act func(context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.faults == nil {
		p.faults = map[key]func(context.Context) error{}
	}
	p.faults[key{point, p.reach[point] + nth}] = act
}

// Fail makes the point return ErrInjected when it is reached for the nth time
// from now.
func (p *Plan) Fail(point string, nth int) {
	p.On(point, nth, func(context.Context) error { return fmt.Errorf("at %s: %w", point, ErrInjected) })
}

// Hook is what to put into the options of the code under test.
func (p *Plan) Hook(ctx context.Context, point string) error {
	p.mu.Lock()
	if p.reach == nil {
		p.reach = map[string]int{}
	}
	p.reach[point]++
	at := key{point, p.reach[point]}
	act := p.faults[at]
	if act != nil {
		delete(p.faults, at)
		p.fired = append(p.fired, fmt.Sprintf("%s#%d", at.point, at.nth))
	}
	p.mu.Unlock()
	if act == nil {
		return nil
	}
	return act(ctx)
}

// Fired lists the faults that have happened, in order, as point#nth.
func (p *Plan) Fired() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.fired...)
}
