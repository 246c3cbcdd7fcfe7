package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What Kafka denies of one topic halts its table alone, until it is given (G12): the
// topic is asked for again every while, and no restart is needed.

// denial is what Kafka does not give of a topic. The session's mu guards it.
type denial struct {
	why    string // as it is shown
	again  bool   // it was denied since the topic was last asked for
	rejoin bool   // only another membership asks for it again
}

// probed is how long a topic is asked for before it counts as given.
const probed = 15 * time.Second

// fetchFailed takes an error of a fetch up: that of a topic is the table's alone. s.mu
// is held.
func (s *session) fetchFailed(ctx context.Context, e kgo.FetchError) error {
	var lost *kgo.ErrDataLoss
	var large *kgo.ErrDecompressTooLarge
	err := fmt.Errorf("poll topic %q partition %d: %w", e.Topic, e.Partition, e.Err)
	_, ours := s.conf(e.Topic)
	switch {
	case errors.Is(e.Err, kerr.OffsetOutOfRange):
		s.haltTopic(e.Topic, halt(e.Err, "the topic no longer holds what is to be loaded next: snapshot the table again"))
	case errors.As(e.Err, &large):
		s.haltTopic(e.Topic, halt(err, "take the batch of records out of the topic"))
	case !ours || errors.As(e.Err, &lost): // then the takeover compares the head with the log
		return err
	case !kerr.IsRetriable(e.Err):
		s.deny(ctx, e.Topic, err, s.topics[e.Topic] == nil && e.Partition >= 0)
	}
	return nil
}

// deny shows what Kafka does not give of a topic, and has the topic wait. s.mu is held.
func (s *session) deny(ctx context.Context, name string, err error, rejoin bool) {
	if s.halted[name] != nil {
		return
	}
	if s.topics[name] != nil {
		s.client.PauseFetchTopics(name)
	}
	why := s.denied(name, err)
	d := s.denials[name]
	if d == nil {
		d = &denial{}
		s.denials[name] = d
		s.opts.Log.Error("table halted", "topic", name, "pause", s.setAside, "err", err)
		s.group.Go(func() error { return s.askAgain(ctx, name, d) })
	}
	d.again, d.rejoin = true, d.rejoin || rejoin
	s.showDenied(name, d, why)
}

// denied says what to do.
func (s *session) denied(name string, err error) string {
	if isDenied(err) {
		return fmt.Sprintf("%v: give the consumer's user the ACLs Read and Describe on topic %s, and Read, Write, Describe and Create on %s.dlq; it is tried again every %s", err, name, name, s.setAside)
	}
	return fmt.Sprintf("%v: see to the topic or its broker; it is tried again every %s", err, s.setAside)
}

func isDenied(err error) bool { return errors.Is(err, kerr.TopicAuthorizationFailed) }

// showDenied changes what is shown of the denial; nothing is shown of one that is over.
func (s *session) showDenied(name string, d *denial, why string) {
	conf, _ := s.conf(name)
	for _, table := range []string{conf.Core, conf.History} {
		s.status.update(table, func(st *TableStatus) {
			if why != "" || st.Halted == d.why { // another halt stays
				st.Halted = why
			}
		})
	}
	d.why = why
}

// askAgain asks for the topic every while, until it is not denied.
func (s *session) askAgain(ctx context.Context, name string, d *denial) error {
	defer func() {
		s.mu.Lock()
		s.showDenied(name, d, "")
		delete(s.denials, name)
		s.mu.Unlock()
	}()
	for {
		if !sleep(ctx, s.setAside) {
			return nil
		}
		s.mu.Lock()
		d.again = false
		r := s.topics[name]
		if r != nil {
			r.topic.unpause()
		}
		rejoin := r == nil && d.rejoin
		s.mu.Unlock()
		if rejoin {
			return fmt.Errorf("%s: %w", name, errAside)
		}
		if !sleep(ctx, min(s.setAside, probed)) {
			return nil
		}
		s.mu.Lock()
		over := !d.again
		s.mu.Unlock()
		if over {
			return nil
		}
	}
}

// sleep reports whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
