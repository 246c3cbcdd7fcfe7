package registry

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"millrace/internal/kafka"
	"millrace/internal/testkit"
	"millrace/schemas/avro"
)

// A topic that would lose schemas, or that others write, is refused with what to
// do.
func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		partitions int32
		policy     string
		records    []record
		reason     string
	}{
		"two partitions": {2, "compact", nil, "2 partitions"},
		"deletes":        {1, "delete", nil, "set it to compact"},
		"both":           {1, "compact,delete", nil, "set it to compact"},
		"no JSON":        {1, "compact", []record{{key: []byte("x")}}, "offset 0"},
		"another's":      {1, "compact", []record{{key: []byte(`{"keytype":"DELETE_SUBJECT"}`)}}, "another registry"},
		"one id for two": {1, "compact", []record{
			schemaRecord(schemaValue{"s", 1, 1, numbered(1), false}), schemaRecord(schemaValue{"s", 2, 1, numbered(2), false}),
		}, "two meanings"},
		"one version for two": {1, "compact", []record{
			schemaRecord(schemaValue{"s", 1, 1, numbered(1), false}), schemaRecord(schemaValue{"s", 1, 2, numbered(2), false}),
		}, "version 1 of s"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := kafka.Cluster{Brokers: testkit.Kafka(t), Embedded: true}
			log, err := openLog(t.Context(), cluster, "_other")
			if err != nil {
				t.Fatal(err)
			}
			defer log.close()
			if _, err := kadm.NewClient(log.producer).CreateTopic(t.Context(), c.partitions, -1, map[string]*string{"cleanup.policy": &c.policy}, DefaultTopic); err != nil {
				t.Fatal(err)
			}
			log.topic = DefaultTopic
			for _, r := range c.records {
				if _, err := log.append(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(t.Context(), cluster, DefaultTopic); err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%v, want %q", err, c.reason)
			}
		})
	}
}

// A topic that is deleted under a running registry is not filled with other
// meanings of ids that are in use.
func TestTopicVanishes(t *testing.T) {
	b := newBench(t)
	b.mustRegister("s", numbered(1))
	b.mustRegister("s", numbered(2))
	adm := kadm.NewClient(b.reg.log.producer)
	if _, err := adm.DeleteTopic(t.Context(), DefaultTopic); err != nil {
		t.Fatal(err)
	}
	other, err := Open(t.Context(), b.cluster, DefaultTopic)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for n := 5; n < 8; n++ {
		if _, err := other.register(t.Context(), "t", numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	if status, answer := b.register("s", numbered(3)); status != 500 || !strings.Contains(answer, "no longer has schema") {
		t.Errorf("%d %s", status, answer)
	}
}

func TestStateKnowsWhatItHas(t *testing.T) {
	s := newState()
	one := schemaRecord(schemaValue{"s", 1, 1, numbered(1), false})
	gone := schemaRecord(schemaValue{"s", 1, 1, numbered(1), true})
	full, none := configRecord("s", avro.Full), configRecord("s", "")
	all, reset := configRecord("", avro.None), configRecord("", "")
	for i, step := range []struct {
		apply   record
		has     []record
		without []record
	}{
		{one, []record{one, none, reset}, []record{gone, full, all}},
		{gone, []record{gone}, []record{one}},
		{full, []record{full, gone}, []record{none}},
		{none, []record{none}, []record{full}},
		{all, []record{all}, []record{reset}},
		{reset, []record{reset}, []record{all}},
	} {
		if err := s.apply(step.apply); err != nil {
			t.Fatal(err)
		}
		for _, r := range step.has {
			if !s.has(r) {
				t.Errorf("step %d: has not %s %s", i, r.key, r.value)
			}
		}
		for _, r := range step.without {
			if s.has(r) {
				t.Errorf("step %d: has %s %s", i, r.key, r.value)
			}
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range []record{
		schemaRecord(schemaValue{"s", 1, 1, numbered(1), false}), configRecord("", avro.Full), configRecord("s", avro.None), configRecord("s", ""),
	} {
		f.Add(r.key, r.value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		s := newState()
		r := record{key, value}
		if s.apply(r) != nil {
			return
		}
		if !s.has(r) {
			t.Error("applied, but not there")
		}
		if err := s.apply(r); err != nil {
			t.Errorf("a second time: %v", err)
		}
	})
}
