package kafka

import (
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	n := Names{Prefix: "shop"}
	for _, c := range []struct {
		in   TopicName
		want string
	}{
		{TopicName{"orders_db", "public", "orders", 1}, "shop.orders_db.public.orders"},
		{TopicName{"orders_db", "public", "orders", 2}, "shop.orders_db.public.orders.g2"},
		{TopicName{"a", "b.c", "d e", 1}, "shop.a.b_x2Ec.d_x20e"},
		{TopicName{"a", "b", "_x2E", 1}, "shop.a.b._x5Fx2E"},
		{TopicName{"a", "b", "größe", 1}, "shop.a.b.gr_xC3_xB6_xC3_x9Fe"},
	} {
		got, err := n.Table(c.in)
		if err != nil || got != c.want {
			t.Errorf("Table(%v) = %q, %v; want %q", c.in, got, err, c.want)
		}
		if back, ok := n.parseTable(got); !ok || back != c.in {
			t.Errorf("parseTable(%q) = %v, %v; want %v", got, back, ok, c.in)
		}
	}
	positions, _ := n.Positions("s")
	snapshots, _ := n.Snapshots("s")
	loads, _ := n.Loads()
	schemas, _ := n.Schemas()
	dlq, _ := n.DeadLetter("shop.s.a.b")
	for got, want := range map[string]string{positions: "shop.s.positions", snapshots: "shop.s.snapshots", loads: "shop.loads", schemas: "shop.schemas", dlq: "shop.s.a.b.dlq"} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if name, ok := n.parseTable(got); ok {
			t.Errorf("%q was taken for the topic of table %v", got, name)
		}
	}
}

func TestParseTableRefusesOtherSpellings(t *testing.T) {
	n := Names{Prefix: "shop"}
	for _, topic := range []string{
		"", "shop", "other.s.a.b", "shop.s.a.b.g1", "shop.s.a.b.g02", "shop.s.a.b.gx", "shop.s.a.b.g2.dlq",
		"shop.s..b", "shop.s.a.b_x41", "shop.s.a.b c",
	} {
		if name, ok := n.parseTable(topic); ok {
			t.Errorf("%q was taken for the topic of table %v", topic, name)
		}
	}
}

func TestNameErrors(t *testing.T) {
	long := strings.Repeat("x", 240)
	for what, err := range map[string]error{
		"empty prefix": second(Names{}.Loads()),
		"empty part":   second(Names{"p"}.Table(TopicName{"s", "", "t", 1})),
		"generation 0": second(Names{"p"}.Table(TopicName{"s", "a", "t", 0})),
		"too long":     second(Names{"p"}.Table(TopicName{"source", "a", long, 1})),
		"dlq too long": second(Names{}.DeadLetter(long + long[:8])),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if err := second(Names{"p"}.Table(TopicName{"source", "a", long, 1})); !strings.Contains(err.Error(), "249") {
		t.Errorf("the message does not name the limit: %v", err)
	}
}

func second(_ string, err error) error { return err }

func TestNamesAreReversible(t *testing.T) {
	legal := regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	part := rapid.OneOf(rapid.StringN(1, 12, 20), rapid.StringOfN(rapid.RuneFrom([]rune("_x25EF.g")), 1, 8, -1), rapid.SampledFrom([]string{"g2", "g10"}))
	rapid.Check(t, func(t *rapid.T) {
		n := Names{Prefix: part.Draw(t, "prefix")}
		in := TopicName{part.Draw(t, "source"), part.Draw(t, "schema"), part.Draw(t, "table"), rapid.IntRange(1, 12).Draw(t, "generation")}
		topic, err := n.Table(in)
		if err != nil {
			if len(topic) == 0 && strings.Contains(err.Error(), "allows 249") {
				return
			}
			t.Fatal(err)
		}
		if !legal.MatchString(topic) {
			t.Fatalf("%q is not a legal topic", topic)
		}
		if back, ok := n.parseTable(topic); !ok || back != in {
			t.Fatalf("parseTable(%q) = %v, %v; want %v", topic, back, ok, in)
		}
		begin := in
		begin.Generation = 1
		want, err := n.Table(begin)
		if err != nil {
			t.Fatal(err)
		}
		if first, generation := Generation(topic); first != want || generation != in.Generation {
			t.Fatalf("Generation(%q) = %q, %d; want %q, %d", topic, first, generation, want, in.Generation)
		}
	})
}

// parseTable reads the name of a table's topic, of which every other name is none:
// so no two tables have one topic.
func (n Names) parseTable(topic string) (TopicName, bool) {
	rest, ok := strings.CutPrefix(topic, escape(n.Prefix)+".")
	if !ok {
		return TopicName{}, false
	}
	parts := strings.Split(rest, ".")
	t := TopicName{Generation: 1}
	if len(parts) == 4 {
		digits, ok := strings.CutPrefix(parts[3], "g")
		generation, err := strconv.Atoi(digits)
		if !ok || err != nil || generation < 2 || strconv.Itoa(generation) != digits {
			return TopicName{}, false
		}
		t.Generation, parts = generation, parts[:3]
	}
	if len(parts) != 3 {
		return TopicName{}, false
	}
	for i, dst := range []*string{&t.Source, &t.Schema, &t.Table} {
		if *dst, ok = unescape(parts[i]); !ok || *dst == "" {
			return TopicName{}, false
		}
	}
	return t, true
}

// unescape undoes escape. What escape does not make is refused, so that every
// topic has one reading.
func unescape(part string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		if isEscape(part[i:]) {
			raw, _ := hex.DecodeString(part[i+2 : i+4])
			b.WriteByte(raw[0])
			i += 3
			continue
		}
		b.WriteByte(part[i])
	}
	return b.String(), escape(b.String()) == part
}
