package query

import "strings"

// tokenKind says what a token is, as far as the rewrite has to know.
type tokenKind uint8

const (
	space     tokenKind = iota + 1 // white space and comments
	text                           // a string
	word                           // a name or keyword, not quoted
	quoted                         // a "name"
	parameter                      // @x, $x, $1 or ?
	number
	symbol // one character of anything else
)

type token struct {
	kind       tokenKind
	start, end int
}

// tokens cuts sql into tokens that cover it without gaps. It never fails: what
// is not closed reaches to the end, and the parser complains about it.
func tokens(sql string) []token {
	var out []token
	for at := 0; at < len(sql); {
		kind, end := scan(sql, at)
		out = append(out, token{kind, at, end})
		at = end
	}
	return out
}

func scan(sql string, at int) (tokenKind, int) {
	rest := sql[at:]
	switch c := sql[at]; {
	case isSpace(c):
		return space, at + run(rest, isSpace)
	case strings.HasPrefix(rest, "--"):
		if i := strings.IndexByte(rest, '\n'); i >= 0 {
			return space, at + i + 1
		}
		return space, len(sql)
	case strings.HasPrefix(rest, "/*"):
		return space, at + comment(rest)
	case c == '\'':
		return text, at + closing(rest, 1, '\'', false)
	case (c == 'e' || c == 'E') && len(rest) > 1 && rest[1] == '\'':
		return text, at + closing(rest, 2, '\'', true)
	case c == '"':
		return quoted, at + closing(rest, 1, '"', false)
	case c == '$':
		if n := dollarString(rest); n > 0 {
			return text, at + n
		}
		return parameter, at + 1 + run(rest[1:], isWord)
	case c == '?':
		return parameter, at + 1
	case c == '@' && len(rest) > 1 && isWordStart(rest[1]):
		return parameter, at + 1 + run(rest[1:], isWord)
	case isWordStart(c):
		return word, at + run(rest, func(b byte) bool { return isWord(b) || b == '$' })
	case '0' <= c && c <= '9':
		return number, at + run(rest, func(b byte) bool { return isWord(b) || b == '.' })
	}
	return symbol, at + 1
}

// closing returns the length of a quoted text whose opening quote ends at
// from. A doubled quote stands for itself; so does one behind a backslash, if
// that escapes.
func closing(s string, from int, quote byte, backslash bool) int {
	for i := from; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

// comment returns the length of a comment, in which others may stand.
func comment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// dollarString returns the length of a $tag$ text $tag$, or 0.
func dollarString(s string) int {
	n := 1
	for n < len(s) && isWord(s[n]) {
		n++
	}
	if n == len(s) || s[n] != '$' || ('0' <= s[1] && s[1] <= '9') {
		return 0
	}
	tag := s[:n+1]
	if i := strings.Index(s[len(tag):], tag); i >= 0 {
		return len(tag) + i + len(tag)
	}
	return len(s)
}

func run(s string, in func(byte) bool) int {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isWordStart(c byte) bool {
	return c == '_' || c >= 0x80 || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isWord(c byte) bool { return isWordStart(c) || '0' <= c && c <= '9' }
