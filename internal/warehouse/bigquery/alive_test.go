package bigquery

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A job for which nobody waits any longer may commit still: nothing is made in its
// place, whatever the last error was.
func TestNothingIsMadeInThePlaceOfAnUnknownOutcome(t *testing.T) {
	for name, answer := range map[string]refusal{
		"quota":   {429, "rateLimitExceeded"},
		"backend": {400, "backendError"},
		"outage":  {503, "backendError"},
	} {
		t.Run(name, func(t *testing.T) {
			s, w := newService(t)
			w.opts.Patience = 20 * time.Millisecond
			s.made = func(int, string) fakeJob { return fakeJob{result: []string{"yes"}} }
			s.unread = answer
			_, err := w.run(t.Context(), someTask(w))
			if !errors.Is(err, errPatience) || !errors.Is(passing(err), errPatience) {
				t.Errorf("got %v", err)
			}
			if got := s.called(); len(s.jobs) != 1 || !strings.HasSuffix(got, "cancel") {
				t.Errorf("%d jobs, calls: %s", len(s.jobs), got)
			}
		})
	}
}

// A job that goes on, as the service says, is waited for, though its result cannot
// be asked for meanwhile.
func TestJobThatGoesOnIsNotGivenUp(t *testing.T) {
	s, w := newService(t)
	w.opts.Patience = 150 * time.Millisecond // more than a pause
	s.made = func(int, string) fakeJob { return fakeJob{running: true, result: []string{"at last"}} }
	s.unread = refusal{503, "backendError"}
	ended := time.AfterFunc(600*time.Millisecond, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unread = refusal{}
		for _, j := range s.jobs {
			j.running = false
		}
	})
	defer ended.Stop()
	res, err := w.run(t.Context(), someTask(w))
	if err != nil || str(res.rows[0][0]) != "at last" || len(s.jobs) != 1 {
		t.Errorf("%d jobs, %v %v", len(s.jobs), res, err)
	}
	if n := valueOf(t, w.metrics.waiting, unknown.String()); n != 0 {
		t.Errorf("%v wait behind it", n)
	}
}

// A job whose reply was lost is looked for until that is answered: that it cannot be
// now says nothing of the job.
func TestLostReplyIsLookedUpUntilItIsKnown(t *testing.T) {
	for _, answer := range []refusal{{429, "rateLimitExceeded"}, {403, "quotaExceeded"}, {400, "backendError"}, {503, "backendError"}} {
		s, w := newService(t)
		s.made = func(int, string) fakeJob { return fakeJob{lost: true, result: []string{"once"}} }
		s.unseen = []refusal{answer, answer}
		res, err := w.run(t.Context(), someTask(w))
		if err != nil || str(res.rows[0][0]) != "once" || len(s.jobs) != 1 {
			t.Errorf("%v: %d jobs, %v %v; calls: %s", answer, len(s.jobs), res, err, s.called())
		}
	}
}
