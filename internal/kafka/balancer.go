package kafka

import (
	"cmp"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// WholeTopics assigns all partitions of a table's topics, of all its
// generations, to one member of the group, so that a table has one writer (G5).
// A member that does not know the newest of them gets none. The load, counted in partitions, is spread
// as evenly as whole topics allow; a topic stays with its owner unless moving
// it makes the spread better. The plan depends on nothing but the members,
// their subscriptions, what they own and the topics.
//
// It moves topics cooperatively: those that stay are read on during a
// rebalance. All members of a group must use it.
func WholeTopics() kgo.GroupBalancer { return wholeTopics{} }

type wholeTopics struct{}

func (wholeTopics) ProtocolName() string { return "millrace-whole-topics" }

func (wholeTopics) IsCooperative() bool { return true }

func (wholeTopics) JoinGroupMetadata(interests []string, current map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version = 3
	meta.Topics = interests
	meta.Generation = generation
	for _, topic := range slices.Sorted(maps.Keys(current)) {
		owned := kmsg.NewConsumerMemberMetadataOwnedPartition()
		owned.Topic, owned.Partitions = topic, current[topic]
		meta.OwnedPartitions = append(meta.OwnedPartitions, owned)
	}
	return meta.AppendTo(nil)
}

func (wholeTopics) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	return kgo.ParseConsumerSyncAssignment(assignment)
}

func (w wholeTopics) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	b, err := kgo.NewConsumerBalancer(w, members)
	if err != nil {
		return nil, nil, err
	}
	return b, b.MemberTopics(), nil
}

func (wholeTopics) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	tables, sizes := make(map[string][]string), make(map[string]int32)
	for topic, n := range topics {
		if n <= 0 {
			continue
		}
		first, _ := Generation(topic)
		tables[first], sizes[first] = append(tables[first], topic), sizes[first]+n
	}
	var members []member
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		in := member{id: m.MemberID, generation: meta.Generation, wants: make(map[string]bool), owned: make(map[string]bool)}
		known := make(map[string]int) // how many topics of each table
		for _, t := range meta.Topics {
			if topics[t] > 0 {
				first, _ := Generation(t)
				known[first]++
			}
		}
		for first, of := range tables {
			in.wants[first] = known[first] == len(of)
		}
		for _, o := range meta.OwnedPartitions {
			first, _ := Generation(o.Topic)
			in.owned[first] = in.owned[first] || len(o.Partitions) > 0
		}
		members = append(members, in)
	})
	owners := assign(members, sizes)
	plan := b.NewPlan()
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, _ *kmsg.ConsumerMemberMetadata) {
		for _, first := range slices.Sorted(maps.Keys(owners)) {
			if owners[first] != m.MemberID {
				continue
			}
			for _, topic := range tables[first] {
				for p := range topics[topic] {
					plan.AddPartition(m, topic, p)
				}
			}
		}
	})
	plan.AdjustCooperative(b)
	return plan
}

type member struct {
	id           string
	generation   int32
	wants, owned map[string]bool
	load         int32 // partitions
	topics       int
}

// assign gives every topic that a member wants to one such member.
func assign(members []member, topics map[string]int32) map[string]string {
	owners := make(map[string]*member, len(topics))
	give := func(topic string, m *member) {
		if from := owners[topic]; from != nil {
			from.load, from.topics = from.load-topics[topic], from.topics-1
		}
		m.load, m.topics = m.load+topics[topic], m.topics+1
		owners[topic] = m
	}
	// Largest first, so that the small ones even out the rest.
	order := slices.SortedFunc(maps.Keys(topics), func(a, b string) int {
		return cmp.Or(-cmp.Compare(topics[a], topics[b]), cmp.Compare(a, b))
	})
	order = slices.DeleteFunc(order, func(t string) bool { return topics[t] <= 0 })
	for _, topic := range order {
		// Of two that claim a topic, the one of the later generation is right.
		var owner *member
		for i := range members {
			m := &members[i]
			if m.owned[topic] && m.wants[topic] && (owner == nil || m.generation > owner.generation) {
				owner = m
			}
		}
		if owner != nil {
			give(topic, owner)
		}
	}
	for _, topic := range order {
		if owners[topic] != nil {
			continue
		}
		if m := least(members, topic); m != nil {
			give(topic, m)
		}
	}
	// Every move lowers the sum of the squares of the loads, so this ends.
	for moved := true; moved; {
		moved = false
		for _, topic := range order {
			from := owners[topic]
			if from == nil {
				continue
			}
			to := least(members, topic)
			if better(from, to, topics[topic]) {
				give(topic, to)
				moved = true
			}
		}
	}
	out := make(map[string]string, len(owners))
	for topic, m := range owners {
		out[topic] = m.id
	}
	return out
}

// better reports whether moving a topic of the size lowers the greater load of
// the two.
func better(from, to *member, size int32) bool { return from != to && to.load+size < from.load }

// least is the member with the least load among those that want the topic; the
// first of equals.
func least(members []member, topic string) *member {
	var out *member
	for i := range members {
		m := &members[i]
		if m.wants[topic] && (out == nil || m.load < out.load || m.load == out.load && m.topics < out.topics) {
			out = m
		}
	}
	return out
}
