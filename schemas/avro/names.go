package avro

import "strings"

// Names of the records, inside the namespace of the topic.
const (
	keyRecord         = "Key"
	envelopeRecord    = "Envelope"
	rowRecord         = "Row"
	sourceRecord      = "Source"
	transactionRecord = "Transaction"
)

// namespace makes an Avro namespace of a topic's name. Two topics may share a
// namespace: what keeps them apart is the subject.
func namespace(topic string) string {
	var b strings.Builder
	start := true // of a part
	for i := range len(topic) {
		c := topic[i]
		switch {
		case c == '.':
			if start {
				b.WriteByte('_')
			}
			b.WriteByte('.')
			start = true
			continue
		case isNameStart(c):
			b.WriteByte(c)
		case isDigit(c):
			if start {
				b.WriteByte('_')
			}
			b.WriteByte(c)
		default:
			b.WriteByte('_')
		}
		start = false
	}
	if start {
		b.WriteByte('_')
	}
	return b.String()
}

const upperHex = "0123456789ABCDEF"

// fieldName makes an Avro name of a column's name. Each byte that Avro does not
// allow becomes _xHH, and so does an underscore that would read as such an
// escape: two columns never get one name.
func fieldName(column string) string {
	var b strings.Builder
	for i := range len(column) {
		c := column[i]
		if isNameStart(c) && !looksEscaped(column[i:]) || isDigit(c) && i > 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString("_x")
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&0xf])
	}
	return b.String()
}

func looksEscaped(s string) bool {
	return len(s) >= 4 && s[0] == '_' && s[1] == 'x' && isUpperHex(s[2]) && isUpperHex(s[3])
}

func isNameStart(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool     { return '0' <= c && c <= '9' }
func isUpperHex(c byte) bool  { return isDigit(c) || 'A' <= c && c <= 'F' }
