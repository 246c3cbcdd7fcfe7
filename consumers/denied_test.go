package consumers

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// denies has the broker deny a topic, to those who fetch it or commit offsets of it,
// while it is told to.
func (r *rig) denies(topic string) *atomic.Bool {
	r.t.Helper()
	details, err := kadm.NewClient(r.client).ListTopics(r.ctx(), topic)
	if err != nil {
		r.t.Fatal(err)
	}
	id := details[topic].ID
	var on atomic.Bool
	r.broker.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.broker.KeepControl()
		f := req.(*kmsg.FetchRequest)
		for _, rt := range f.Topics {
			if !on.Load() || rt.Topic != topic && rt.TopicID != id {
				continue
			}
			resp := f.ResponseKind().(*kmsg.FetchResponse)
			out := kmsg.NewFetchResponseTopic()
			out.Topic, out.TopicID = rt.Topic, rt.TopicID
			for _, p := range rt.Partitions {
				part := kmsg.NewFetchResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				out.Partitions = append(out.Partitions, part)
			}
			resp.Topics = append(resp.Topics, out)
			return resp, nil, true
		}
		return nil, nil, false
	})
	r.broker.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.broker.KeepControl()
		c := req.(*kmsg.OffsetCommitRequest)
		for _, rt := range c.Topics {
			if !on.Load() || rt.Topic != topic && rt.TopicID != id {
				continue
			}
			resp := c.ResponseKind().(*kmsg.OffsetCommitResponse)
			out := kmsg.NewOffsetCommitResponseTopic()
			out.Topic, out.TopicID = rt.Topic, rt.TopicID
			for _, p := range rt.Partitions {
				part := kmsg.NewOffsetCommitResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				out.Partitions = append(out.Partitions, part)
			}
			resp.Topics = append(resp.Topics, out)
			return resp, nil, true
		}
		return nil, nil, false
	})
	return &on
}

// A topic that Kafka denies halts its table, says which right it lacks, and goes on
// when that is given. The session goes on all the while, and with it the others (G12).
func TestDeniedTopicHaltsItsTableAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.setAside = 300 * time.Millisecond
	bad, good := r.table("bad", 2), r.table("good", 1)
	on := r.denies(bad.Topic)
	c, stop := r.start()
	defer stop()
	r.produce(r.put(bad, 1, "v"), r.put(good, 1, "v"))
	r.awaitEqual(bad)
	r.awaitEqual(good)
	session := c.client.Load()
	for round := range int64(2) {
		on.Store(true)
		r.produce(r.put(bad, 10+round, "v"))
		r.await("it halts", func() bool {
			return strings.Contains(status(c, "core.bad").Halted, "ACLs Read and Describe on topic "+bad.Topic)
		})
		for n := range int64(5) {
			r.produce(r.put(good, 10*round+n, "v"))
			r.awaitEqual(good)
			time.Sleep(r.setAside / 2) // it is asked for in between
			if status(c, "core.bad").Halted == "" {
				t.Error("it is not halted any more")
			}
		}
		on.Store(false)
		r.awaitEqual(bad)
		r.await("it is halted no more", func() bool { return status(c, "core.bad").Halted == "" })
	}
	if c.client.Load() != session {
		t.Error("the session ended")
	}
	if why := status(c, "core.good").Halted; why != "" {
		t.Errorf("the other table: %s", why)
	}
}

// The right is lost between a load and the commit of its offsets, which are for
// people: the load is announced, and the session goes on.
func TestDeniedOffsets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.setAside = 300 * time.Millisecond
	bad, good := r.table("bad", 1), r.table("good", 1)
	on := r.denies(bad.Topic)
	c, stop := r.start()
	defer stop()
	r.produce(r.put(bad, 1, "v"), r.put(good, 1, "v"))
	r.awaitEqual(bad)
	r.awaitEqual(good)
	session := c.client.Load()
	r.mem.fault = func(at, table string, _ int64) error {
		if at == "before load" && table == "core.bad" {
			on.Store(true)
		}
		return nil
	}
	r.produce(r.put(bad, 2, "v"))
	r.await("it halts", func() bool { return status(c, "core.bad").Halted != "" })
	r.awaitEqual(bad)
	r.awaitAnnounced(bad)
	r.produce(r.put(good, 2, "v"))
	r.awaitEqual(good)
	if c.client.Load() != session {
		t.Error("the session ended")
	}
}

// A topic that is denied when its table is taken over keeps no other from its own.
func TestDeniedAtTheTakeover(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.setAside = 300 * time.Millisecond
	bad, good := r.table("bad", 1), r.table("good", 1)
	var on atomic.Bool
	on.Store(true)
	r.broker.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.broker.KeepControl()
		l := req.(*kmsg.ListOffsetsRequest)
		if !on.Load() || len(l.Topics) != 1 || l.Topics[0].Topic != bad.Topic {
			return nil, nil, false
		}
		resp := l.ResponseKind().(*kmsg.ListOffsetsResponse)
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = bad.Topic
		for _, p := range l.Topics[0].Partitions {
			part := kmsg.NewListOffsetsResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
			out.Partitions = append(out.Partitions, part)
		}
		resp.Topics = append(resp.Topics, out)
		return resp, nil, true
	})
	c, stop := r.start()
	defer stop()
	r.produce(r.put(bad, 1, "v"), r.put(good, 1, "v"))
	r.await("it halts", func() bool {
		return strings.Contains(status(c, "core.bad").Halted, "ACLs Read and Describe on topic "+bad.Topic)
	})
	r.awaitEqual(good)
	on.Store(false)
	r.awaitEqual(bad)
	r.await("it is halted no more", func() bool { return status(c, "core.bad").Halted == "" })
}
