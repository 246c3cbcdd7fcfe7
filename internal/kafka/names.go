package kafka

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxTopicLen is Kafka's limit of a topic's name.
const MaxTopicLen = 249

// Names makes the names of the topics of one installation. Each part of a name
// is escaped, so that two things never share a topic: a byte that Kafka does
// not allow in a name, and a dot, becomes _xHH; so does the underscore of what
// already looks like an escape.
type Names struct {
	Prefix string
}

// TopicName is what the name of a table's topic says.
type TopicName struct {
	Source, Schema, Table string
	Generation            int // from 1
}

// Table is the topic of a generation of a table.
func (n Names) Table(t TopicName) (string, error) {
	if t.Generation < 1 {
		return "", fmt.Errorf("name topic of %s.%s: generation %d is below 1", t.Schema, t.Table, t.Generation)
	}
	parts := []string{t.Source, t.Schema, t.Table}
	if t.Generation == 1 {
		return n.join(parts...)
	}
	name, err := n.join(parts...)
	if err != nil {
		return "", err
	}
	return checkLen(name + ".g" + strconv.Itoa(t.Generation))
}

// Generation splits the name of a table's topic into that of the table's first
// generation and the number. The first has four parts: a table may itself be
// called g2.
func Generation(topic string) (first string, n int) {
	if at := strings.LastIndex(topic, ".g"); at > 0 && strings.Count(topic[:at], ".") >= 3 {
		if n, err := strconv.Atoi(topic[at+2:]); err == nil && n > 1 && topic[at+2:] == strconv.Itoa(n) {
			return topic[:at], n
		}
	}
	return topic, 1
}

// Positions is the topic of a source's checkpoints.
func (n Names) Positions(source string) (string, error) { return n.join(source, "positions") }

// Snapshots is the topic of the states of a source's tables.
func (n Names) Snapshots(source string) (string, error) { return n.join(source, "snapshots") }

// Loads is the topic of load-complete events.
func (n Names) Loads() (string, error) { return n.join("loads") }

// Schemas is the topic of the registry that serves parts that run apart.
func (n Names) Schemas() (string, error) { return n.join("schemas") }

// DeadLetter is the dead-letter topic of a topic.
func (Names) DeadLetter(topic string) (string, error) { return checkLen(topic + ".dlq") }

// TransactionalID is the transactional id of a source's producer.
func (n Names) TransactionalID(source string) (string, error) { return n.join(source) }

func (n Names) join(parts ...string) (string, error) {
	name := escape(n.Prefix)
	if name == "" {
		return "", errors.New("name topic: the prefix is empty")
	}
	for _, part := range parts {
		if part == "" {
			return "", fmt.Errorf("name topic under %q: a part of %q is empty", n.Prefix, parts)
		}
		name += "." + escape(part)
	}
	return checkLen(name)
}

func checkLen(name string) (string, error) {
	if len(name) > MaxTopicLen {
		return "", fmt.Errorf("name topic %s…: it takes %d bytes and Kafka allows %d: shorten the prefix or the name of the source",
			name[:64], len(name), MaxTopicLen)
	}
	return name, nil
}

func escape(part string) string {
	var b strings.Builder
	for i := range len(part) {
		c := part[i]
		legal := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
		if !legal || isEscape(part[i:]) {
			fmt.Fprintf(&b, "_x%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// isEscape reports whether s begins like the escape of a byte.
func isEscape(s string) bool {
	if len(s) < 4 || s[0] != '_' || s[1] != 'x' {
		return false
	}
	_, err := hex.DecodeString(s[2:4])
	return err == nil && strings.ToUpper(s[2:4]) == s[2:4]
}
