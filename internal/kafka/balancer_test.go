package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

func set(topics ...string) map[string]bool {
	out := make(map[string]bool)
	for _, t := range topics {
		out[t] = true
	}
	return out
}

func TestAssignSpreadsPartitions(t *testing.T) {
	topics := map[string]int32{"a": 8, "b": 4, "c": 4, "d": 1, "gone": 0}
	all := set("a", "b", "c", "d", "gone")
	got := assign([]member{{id: "m1", wants: all}, {id: "m2", wants: all}}, topics)
	want := map[string]string{"a": "m1", "b": "m2", "c": "m2", "d": "m1"}
	if !maps.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestAssignKeepsOwners(t *testing.T) {
	topics := map[string]int32{"a": 2, "b": 2, "c": 2, "d": 2}
	all := set("a", "b", "c", "d")
	got := assign([]member{
		{id: "m1", wants: all, owned: set("a", "d"), generation: 3},
		{id: "m2", wants: all, owned: set("b", "c"), generation: 3},
	}, topics)
	if want := map[string]string{"a": "m1", "d": "m1", "b": "m2", "c": "m2"}; !maps.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	// A third member takes one topic, and only that one moves.
	next := assign([]member{
		{id: "m1", wants: all, owned: set("a", "d")}, {id: "m2", wants: all, owned: set("b", "c")}, {id: "m3", wants: all},
	}, topics)
	moved := 0
	for topic, owner := range next {
		if got[topic] != owner {
			moved++
		}
	}
	if moved != 1 {
		t.Fatalf("moved %d topics, want 1: %v", moved, next)
	}
	// Of two that claim a topic, the later generation is believed.
	got = assign([]member{
		{id: "m1", wants: all, owned: set("a", "b"), generation: 2}, {id: "m2", wants: all, owned: set("a", "c"), generation: 5},
	}, topics)
	if got["a"] != "m2" {
		t.Fatalf("the member of the older generation kept the topic: %v", got)
	}
}

func TestAssignProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics := make(map[string]int32)
		for i := range rapid.IntRange(0, 12).Draw(t, "topics") {
			topics[fmt.Sprint("t", i)] = rapid.Int32Range(0, 9).Draw(t, "partitions")
		}
		names := slices.Sorted(maps.Keys(topics))
		var members []member
		for i := range rapid.IntRange(1, 5).Draw(t, "members") {
			m := member{id: fmt.Sprint("m", i), wants: set(), owned: set(), generation: rapid.Int32Range(0, 2).Draw(t, "generation")}
			for _, n := range names {
				m.wants[n] = rapid.IntRange(0, 3).Draw(t, "wants") > 0
				m.owned[n] = rapid.Bool().Draw(t, "owns")
			}
			members = append(members, m)
		}
		fresh := func() []member { return slices.Clone(members) }
		owners := assign(fresh(), topics)
		if again := assign(fresh(), topics); !maps.Equal(owners, again) {
			t.Fatalf("not deterministic: %v, %v", owners, again)
		}
		load := make(map[string]int32)
		for topic, owner := range owners {
			load[owner] += topics[topic]
		}
		for topic, n := range topics {
			wanted := slices.ContainsFunc(members, func(m member) bool { return m.wants[topic] })
			if (owners[topic] != "") != (wanted && n > 0) {
				t.Fatalf("topic %s of %d partitions, wanted %v, is owned by %q", topic, n, wanted, owners[topic])
			}
			for _, m := range members {
				if owners[topic] == m.id && !m.wants[topic] {
					t.Fatalf("%s owns %s against its will", m.id, topic)
				}
				if owners[topic] != "" && m.wants[topic] && load[m.id]+n < load[owners[topic]] {
					t.Fatalf("moving %s to %s would be better: %v", topic, m.id, load)
				}
			}
		}
		// What was assigned stays as it is.
		for i := range members {
			members[i].owned, members[i].generation = set(), 7
			for topic, owner := range owners {
				if owner == members[i].id {
					members[i].owned[topic] = true
				}
			}
		}
		if again := assign(fresh(), topics); !maps.Equal(owners, again) {
			t.Fatalf("a stable group moved topics: %v, %v", owners, again)
		}
	})
}

// groupMember reads and remembers which topics it owns.
type groupMember struct {
	cl   *kgo.Client
	mu   sync.Mutex
	owns map[string]int // partitions by topic
	done chan struct{}
}

func join(t *testing.T, c *kfake.Cluster, topics []string) *groupMember {
	t.Helper()
	m := &groupMember{owns: make(map[string]int), done: make(chan struct{})}
	change := func(by int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for topic, ps := range parts {
				if m.owns[topic] += by * len(ps); m.owns[topic] == 0 {
					delete(m.owns, topic)
				}
			}
		}
	}
	cluster := Cluster{Brokers: c.ListenAddrs(), Embedded: true}
	cl, err := kgo.NewClient(append(append(cluster.ClientOpts("test", nil, nil), cluster.GroupOpts("g")...),
		kgo.ConsumeTopics(topics...), kgo.HeartbeatInterval(50*time.Millisecond), kgo.SessionTimeout(6*time.Second),
		kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(change(-1)), kgo.OnPartitionsLost(change(-1)))...)
	if err != nil {
		t.Fatal(err)
	}
	m.cl = cl
	go func() {
		defer close(m.done)
		for {
			if f := cl.PollFetches(context.Background()); f.IsClientClosed() {
				return
			}
			cl.AllowRebalance()
		}
	}()
	t.Cleanup(m.leave)
	return m
}

func (m *groupMember) leave() {
	m.cl.CloseAllowingRebalance()
	<-m.done
}

func (m *groupMember) topics() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.owns)
}

// settle waits until every topic is owned whole by one of the members.
func settle(t *testing.T, topics []string, partitions int, fair int, members ...*groupMember) {
	t.Helper()
	var last string
	for range 1500 {
		owners, whole, spread := 0, true, true
		last = ""
		for _, m := range members {
			owns := m.topics()
			last += fmt.Sprint(owns, " ")
			owners += len(owns)
			spread = spread && len(owns) <= fair
			for _, n := range owns {
				whole = whole && n == partitions
			}
		}
		if owners == len(topics) && whole && spread {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("the group did not settle on whole topics: %s", last)
}

func TestWholeTopicsGoToOneMember(t *testing.T) {
	topics := []string{"a", "b", "c", "d", "e", "f"}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topics...))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m1 := join(t, c, topics)
	settle(t, topics, 3, 6, m1)
	m2 := join(t, c, topics)
	settle(t, topics, 3, 3, m1, m2)
	kept := m1.topics()
	m3 := join(t, c, topics)
	settle(t, topics, 3, 2, m1, m2, m3)
	for topic := range m1.topics() {
		if kept[topic] == 0 {
			t.Errorf("topic %s moved to a member that had too many", topic)
		}
	}
	before := [2]map[string]int{m2.topics(), m3.topics()}
	m1.leave()
	settle(t, topics, 3, 3, m2, m3)
	for i, m := range []*groupMember{m2, m3} {
		for topic := range before[i] {
			if m.topics()[topic] != 3 {
				t.Errorf("topic %s left its living owner", topic)
			}
		}
	}
}
