// Package measure says what a run costs and whether its result is right: CPU
// and memory of processes, times from intention to effect, and the accounting
// of rows.
package measure

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Process is what one process, with its children, has used while it was watched.
type Process struct {
	Name       string  `json:"name"`
	CPUSeconds float64 `json:"cpu_seconds"`
	// PeakRSSMB is the most memory that it held since it began, in a million bytes.
	PeakRSSMB float64  `json:"peak_rss_mb"`
	Series    []Sample `json:"series,omitempty"`
}

// Sample is what was used up to a moment.
type Sample struct {
	Seconds    float64 `json:"s"` // since the watch began
	CPUSeconds float64 `json:"cpu_s"`
	RSSMB      float64 `json:"rss_mb"`
	Events     int64   `json:"events,omitempty"` // that were done by then
}

const (
	sampleEvery = 100 * time.Millisecond
	mostSamples = 600
)

// Watch samples processes until it is stopped.
type Watch struct {
	began time.Time
	stop  chan struct{}
	once  sync.Once
	done  sync.WaitGroup

	mu        sync.Mutex // of what follows
	processes []*watched
}

type watched struct {
	Process
	pid   int
	begin usage
	skip  int // samples between two that are kept
	since int
}

// usage is what a process and its children have used.
type usage struct {
	cpu       time.Duration
	rss, peak int64 // bytes
	ok        bool  // the process is there
}

// Begin watches the processes from now on.
func Begin(pids map[string]int) *Watch {
	w := &Watch{began: time.Now(), stop: make(chan struct{})}
	for _, name := range slices.Sorted(maps.Keys(pids)) {
		p := &watched{Process: Process{Name: name}, pid: pids[name]}
		p.begin = used(p.pid)
		w.processes = append(w.processes, p)
	}
	w.done.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-tick.C:
				w.sample()
			}
		}
	})
	return w
}

func (w *Watch) sample() {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Since(w.began).Seconds()
	for _, p := range w.processes {
		u := used(p.pid)
		if !u.ok {
			continue
		}
		p.CPUSeconds = (u.cpu - p.begin.cpu).Seconds()
		p.PeakRSSMB = max(p.PeakRSSMB, float64(max(u.peak, u.rss))/1e6)
		if p.since++; p.since <= p.skip {
			continue
		}
		p.since = 0
		p.Series = append(p.Series, Sample{Seconds: at, CPUSeconds: p.CPUSeconds, RSSMB: float64(u.rss) / 1e6})
		if len(p.Series) == mostSamples { // every other one is enough
			for i := range mostSamples / 2 {
				p.Series[i] = p.Series[2*i]
			}
			p.Series = p.Series[:mostSamples/2]
			p.skip = 2*p.skip + 1
		}
	}
}

// Stop ends a watch of which nobody wants to know any more. One that has ended stays
// so.
func (w *Watch) Stop() {
	w.once.Do(func() { close(w.stop) })
	w.done.Wait()
}

// End stops watching. The processes must still be there: what one has used is
// not known any more when it is gone.
func (w *Watch) End() (wall time.Duration, processes []Process) {
	wall = time.Since(w.began)
	w.Stop()
	w.sample()
	for _, p := range w.processes {
		processes = append(processes, p.Process)
	}
	return wall, processes
}

// Of is the process of that name; a zero one if there is none.
func Of(processes []Process, name string) Process {
	for _, p := range processes {
		if p.Name == name {
			return p
		}
	}
	return Process{}
}
