package producers

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPromisesAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPromises()
		p.made = 2
		p.keep(nil, nil)
		var waited time.Duration
		time.AfterFunc(time.Minute, func() { p.keep(nil, errKilled) })
		began := time.Now()
		err := p.kept()
		if waited = time.Since(began); waited != time.Minute || !errors.Is(err, errKilled) {
			t.Errorf("after %s: %v", waited, err)
		}
	})
}

func TestPromisesKeepTheFirstError(t *testing.T) {
	p := newPromises()
	for i := range 5 {
		p.made++
		p.keep(nil, []error{nil, nil, errKilled, errVoid, nil}[i])
	}
	if err := p.kept(); !errors.Is(err, errKilled) {
		t.Errorf("%v", err)
	}
	if err := newPromises().kept(); err != nil {
		t.Errorf("of none: %v", err)
	}
}

// The last promise may be kept at any moment of the wait.
func TestPromisesRace(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		p := newPromises()
		p.made = 1 + random.Int64N(4)
		var group sync.WaitGroup
		for range p.made {
			group.Go(func() { p.keep(nil, nil) })
		}
		if err := p.kept(); err != nil || p.done.Load() != p.made {
			t.Fatalf("seed %d: %v, %d of %d", seed, err, p.done.Load(), p.made)
		}
		group.Wait()
	}
}
