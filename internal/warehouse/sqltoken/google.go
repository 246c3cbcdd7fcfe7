package sqltoken

import "strings"

// Google cuts a text of GoogleSQL, BigQuery's language, in which $x may stand for
// @x. A project's name with dashes is several tokens.
func Google(sql string) []Token { return cut(sql, scanGoogle) }

func scanGoogle(sql string, at int) (Kind, int) {
	rest := sql[at:]
	switch c := sql[at]; {
	case isSpace(c):
		return Space, at + run(rest, isSpace)
	case c == '#' || strings.HasPrefix(rest, "--"):
		return Space, at + line(rest)
	case strings.HasPrefix(rest, "/*"):
		if i := strings.Index(rest[2:], "*/"); i >= 0 {
			return Space, at + 2 + i + 2
		}
		return Space, len(sql)
	case c == '`':
		return Quoted, at + googleText(rest, "`")
	case c == '\'' || c == '"':
		return Text, at + googleString(rest)
	case c == '?':
		return Parameter, at + 1
	case (c == '@' || c == '$') && len(rest) > 1 && isWordStart(rest[1]):
		return Parameter, at + 1 + run(rest[1:], isWord)
	case isWordStart(c):
		n := run(rest, isWord)
		if prefix := strings.ToLower(rest[:n]); n < len(rest) && (rest[n] == '\'' || rest[n] == '"') &&
			(prefix == "r" || prefix == "b" || prefix == "rb" || prefix == "br") {
			return Text, at + n + googleString(rest[n:])
		}
		return Word, at + n
	case isDigit(c):
		return Number, at + run(rest, func(b byte) bool { return isWord(b) || b == '.' })
	}
	return Symbol, at + 1
}

// googleString returns the length of a string that starts with a quote, or with
// three.
func googleString(s string) int {
	quote := s[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s, triple) {
		return googleText(s, triple)
	}
	return googleText(s, quote)
}

// googleText returns the length of a text between two quotes. Even in a raw
// string a backslash keeps the quote behind it from closing.
func googleText(s, quote string) int {
	for i := len(quote); i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.HasPrefix(s[i:], quote):
			return i + len(quote)
		}
	}
	return len(s)
}
