package bigquery

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// pauses are the waits between attempts. They double, up to a hundredfold. From
// the first wait to the end, whoever waits is counted: an attempt that gets no
// answer takes longer than the wait before it.
type pauses struct {
	next, most, patience time.Duration
	began                time.Time // of the first wait
	waiting              *prometheus.GaugeVec
	counted              prometheus.Gauge // by why it waits now; nil: it does not
}

func (w *Warehouse) pauses() *pauses {
	return &pauses{next: w.opts.RetryWait, most: 100 * w.opts.RetryWait, patience: w.opts.Patience, waiting: w.metrics.waiting}
}

// errPatience ends waits that have lasted for Options.Patience: whoever asked
// shows what is wrong, and asks again. What an unknown outcome was, it finds out
// by the head.
var errPatience = errors.New("given up for now")

// wait waits once; for a quota, ten times as long.
func (p *pauses) wait(ctx context.Context, c class) error {
	d := p.next
	p.next = min(2*p.next, p.most)
	if c == quota {
		d = min(10*d, p.most)
	}
	if p.began.IsZero() {
		p.began = time.Now()
	}
	if c != lag && time.Since(p.began)+d > p.patience {
		return errPatience
	}
	p.count(c)
	return sleep(ctx, d)
}

// count counts the waiting, by why.
func (p *pauses) count(c class) {
	p.end()
	p.counted = p.waiting.WithLabelValues(c.String())
	p.counted.Inc()
}

// end ends the waiting. Whoever makes pauses ends them.
func (p *pauses) end() {
	if p.counted != nil {
		p.counted.Dec()
		p.counted = nil
	}
}

// poll waits once for what goes on as it should.
func (p *pauses) poll(ctx context.Context) error {
	d := p.next
	p.next = min(2*p.next, p.most)
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// unanswered is what is left of an error for which nobody waits any longer.
func unanswered(waitErr, err error) error {
	if errors.Is(waitErr, errPatience) {
		return cure(&impatientError{err})
	}
	return errors.Join(waitErr, err)
}

// impatientError is the last error before patience was at its end.
type impatientError struct{ err error }

func (e *impatientError) Error() string   { return e.err.Error() }
func (e *impatientError) Unwrap() []error { return []error{e.err, errPatience} }

func randomID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// jobID names a job by what it does: the same load of the same owner is the
// same job. The session keeps apart from it what an earlier table of the name
// had done under the same numbers.
func (w *Warehouse) jobID(what string, parts ...any) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", w.session)
	for _, p := range parts {
		fmt.Fprintf(h, " %q", fmt.Sprint(p))
	}
	return "millrace_" + what + "_" + hex.EncodeToString(h.Sum(nil)[:12])
}
