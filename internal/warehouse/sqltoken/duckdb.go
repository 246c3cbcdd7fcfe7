package sqltoken

import "strings"

// DuckDB cuts a text of DuckDB.
func DuckDB(sql string) []Token { return cut(sql, scanDuckDB) }

func scanDuckDB(sql string, at int) (Kind, int) {
	rest := sql[at:]
	switch c := sql[at]; {
	case isSpace(c):
		return Space, at + run(rest, isSpace)
	case strings.HasPrefix(rest, "--"):
		return Space, at + line(rest)
	case strings.HasPrefix(rest, "/*"):
		return Space, at + nestedComment(rest)
	case c == '\'':
		return Text, at + closing(rest, 1, '\'', false)
	case (c == 'e' || c == 'E') && len(rest) > 1 && rest[1] == '\'':
		return Text, at + closing(rest, 2, '\'', true)
	case c == '"':
		return Quoted, at + closing(rest, 1, '"', false)
	case c == '$':
		if n := dollarString(rest); n > 0 {
			return Text, at + n
		}
		return Parameter, at + 1 + run(rest[1:], isWord)
	case c == '?':
		return Parameter, at + 1
	case c == '@' && len(rest) > 1 && isWordStart(rest[1]):
		return Parameter, at + 1 + run(rest[1:], isWord)
	case isWordStart(c):
		return Word, at + run(rest, func(b byte) bool { return isWord(b) || b == '$' })
	case isDigit(c):
		return Number, at + run(rest, func(b byte) bool { return isWord(b) || b == '.' })
	}
	return Symbol, at + 1
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

// nestedComment returns the length of a comment, in which others may stand.
func nestedComment(s string) int {
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
	if n == len(s) || s[n] != '$' || isDigit(s[1]) {
		return 0
	}
	tag := s[:n+1]
	if i := strings.Index(s[len(tag):], tag); i >= 0 {
		return len(tag) + i + len(tag)
	}
	return len(s)
}
