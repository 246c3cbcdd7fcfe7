package consumers

import "github.com/twmb/franz-go/pkg/kgo"

// recordOverhead is about what a record takes in memory beside its key and value.
const recordOverhead = 200

func size(records []*kgo.Record) (n int64) {
	for _, r := range records {
		n += int64(len(r.Key)+len(r.Value)) + recordOverhead
	}
	return n
}

// hold counts bytes that the topic has from its queue to the end of their load;
// free counts them off.
func (t *topic) hold(n int64) {
	t.held.Add(n)
	t.buffered.Add(n)
}

func (t *topic) free(n int64) {
	t.buffered.Add(-n)
	t.held.Add(-n)
	t.resume()
	t.poke()
}

// poke has the poller look again whether memory is short.
func (s *session) poke() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// throttle pauses a topic that holds more than its part once half of the memory
// is used. A table that is stuck so holds up no other: it may have taken half of
// the memory while the others were quiet, and the other half is theirs. A topic
// that is alone holds up nobody, and is never paused. s.mu is held.
func (s *session) throttle(t *topic) {
	half, others := int64(s.opts.Memory)/2, int64(len(s.topics)-1)
	if others < 1 || s.buffered.Load() <= half {
		return
	}
	part := half / others
	if t.held.Load() <= part || t.enough.Load() > 0 {
		return
	}
	t.pause(part + 1)
	t.signal()
	t.resume() // it may have been loaded meanwhile
	s.poke()
}

// pause has the topic not fetched until it holds less than half of enough; of 0,
// it is not fetched until it is started again.
func (t *topic) pause(enough int64) {
	t.pausing.Lock()
	defer t.pausing.Unlock()
	t.client.PauseFetchTopics(t.conf.Topic)
	t.enough.Store(enough)
}

// pressed reports whether the topic should load what it has collected, without
// waiting for more. Above half of the memory, a topic loads half of its part: the
// other half is for what is collected meanwhile.
func (t *topic) pressed() bool {
	if t.enough.Load() > 0 {
		return true
	}
	half := int64(t.opts.Memory) / 2
	if t.buffered.Load() <= half {
		return false
	}
	t.session.mu.Lock()
	part := half / int64(max(1, len(t.topics)))
	t.session.mu.Unlock()
	return t.taken > part || t.short()
}

// resume has a paused topic fetched again once it holds half of its part.
func (t *topic) resume() {
	if t.enough.Load() == 0 {
		return
	}
	t.pausing.Lock()
	defer t.pausing.Unlock()
	if enough := t.enough.Load(); enough > 0 && t.held.Load() <= enough/2 {
		t.client.ResumeFetchTopics(t.conf.Topic)
		t.enough.Store(0)
	}
}

// unpause has a topic fetched again, unless its memory is used up.
func (t *topic) unpause() {
	t.pausing.Lock()
	defer t.pausing.Unlock()
	if t.enough.Load() == 0 {
		t.client.ResumeFetchTopics(t.conf.Topic)
	}
}

// short reports whether the memory for records is used up by the topics that are
// fetched (G13). Those that are paused hold little more than their part.
func (s *session) short() bool {
	if s.buffered.Load() <= int64(s.opts.Memory) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var flowing int64
	for _, r := range s.topics {
		if r.topic.enough.Load() == 0 {
			flowing += r.topic.held.Load()
		}
	}
	return flowing > int64(s.opts.Memory)
}

func (s *session) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.topics {
		s.throttle(r.topic)
		r.topic.signal()
	}
}
