package producers

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// promises are those of one transaction's records: that each is written, or that
// its error is seen. There are so many that one allocation each would show.
type promises struct {
	made   int64                          // belongs to the loop
	keep   func(r *kgo.Record, err error) // for every record
	done   atomic.Int64
	wanted atomic.Int64
	all    chan struct{}
	failed atomic.Pointer[error] // the first
}

func newPromises() *promises {
	p := &promises{all: make(chan struct{}, 1)}
	p.keep = func(_ *kgo.Record, err error) {
		if err != nil {
			p.failed.CompareAndSwap(nil, &err)
		}
		if p.done.Add(1) == p.wanted.Load() {
			p.all <- struct{}{}
		}
	}
	return p
}

// kept waits until all that were made are kept, and returns the first error.
// A flush does not wait for records that failed before they were buffered.
func (p *promises) kept() error {
	p.wanted.Store(p.made)
	if p.done.Load() < p.made {
		<-p.all
	}
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}
