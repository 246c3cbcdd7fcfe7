package bigquery

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// pauses are the waits between attempts. They double, up to a hundredfold.
type pauses struct{ next, most time.Duration }

func (w *Warehouse) pauses() *pauses {
	return &pauses{w.opts.RetryWait, 100 * w.opts.RetryWait}
}

// wait waits once; for a quota, ten times as long.
func (p *pauses) wait(ctx context.Context, c class) error {
	d := p.next
	p.next = min(2*p.next, p.most)
	if c == quota {
		d = min(10*d, p.most)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

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
