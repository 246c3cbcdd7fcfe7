package mysql

import "strings"

// word is one token of a statement. An identifier in quotes is a name and never
// a keyword; a string or number says nothing and is kept as an empty symbol.
type word struct {
	text string // of a plain word in upper case as keyword, else the name or symbol
	raw  string // as it is written, without quotes
	kind wordKind
}

type wordKind uint8

const (
	plainWord  wordKind = iota // a keyword or a name
	quotedName                 // `name`, or "name": which of the two the sql_mode decides
	literal                    // 'text' or a number
	symbol
)

// words cuts a statement into tokens. It is tolerant: text that is no SQL gives
// some tokens, never an error. Comments are left out, but what stands in
// /*! … */ and /*M! … */ is executed by the server and read here.
func words(query string) []word {
	var out []word
	for i := 0; i < len(query); {
		c := query[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			i++
		case c == '#' || strings.HasPrefix(query[i:], "--") && (i+2 == len(query) || query[i+2] <= ' '):
			i = indexFrom(query, "\n", i)
		case strings.HasPrefix(query[i:], "/*!") || strings.HasPrefix(query[i:], "/*M!"):
			i += strings.IndexByte(query[i:], '!') + 1
			for i < len(query) && query[i] >= '0' && query[i] <= '9' {
				i++
			}
		case strings.HasPrefix(query[i:], "/*"):
			i = indexFrom(query, "*/", i+2)
		case strings.HasPrefix(query[i:], "*/"): // the end of an executable comment
			i += 2
		case c == '`' || c == '"':
			text, end := quoted(query, i, c == '"')
			out, i = append(out, word{text: text, raw: text, kind: quotedName}), end
		case c == '\'':
			_, end := quoted(query, i, true)
			out, i = append(out, word{kind: literal}), end
		case isWordByte(c):
			end := i
			for end < len(query) && isWordByte(query[end]) {
				end++
			}
			text := query[i:end]
			out, i = append(out, word{text: strings.ToUpper(text), raw: text}), end
		default:
			out, i = append(out, word{text: query[i : i+1], raw: query[i : i+1], kind: symbol}), i+1
		}
	}
	return out
}

// indexFrom is the index behind the next sub at or after i, or the end.
func indexFrom(s, sub string, i int) int {
	if i >= len(s) {
		return len(s)
	}
	at := strings.Index(s[i:], sub)
	if at < 0 {
		return len(s)
	}
	return i + at + len(sub)
}

// quoted reads what stands in the quotes that begin at i. Doubled quotes are
// one; a backslash escapes in strings, not in names.
func quoted(s string, i int, escapes bool) (text string, end int) {
	quote := s[i]
	var b strings.Builder
	for i++; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\' && i+1 < len(s):
			i++
		case s[i] == quote:
			if i+1 >= len(s) || s[i+1] != quote {
				return b.String(), i + 1
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), len(s)
}

func isWordByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// scanner walks over the tokens of a statement.
type scanner struct {
	words []word
	db    string // where an unqualified name lives
}

func (s *scanner) done() bool { return len(s.words) == 0 }

func (s *scanner) peek() word {
	if s.done() {
		return word{kind: symbol}
	}
	return s.words[0]
}

func (s *scanner) skip() word {
	w := s.peek()
	if !s.done() {
		s.words = s.words[1:]
	}
	return w
}

// at reports whether the next token is one of the keywords or symbols.
func (s *scanner) at(keywords ...string) bool {
	w := s.peek()
	if w.kind != plainWord && w.kind != symbol {
		return false
	}
	for _, k := range keywords {
		if w.text == k {
			return true
		}
	}
	return false
}

// take skips the next token if it is one of the keywords.
func (s *scanner) take(keywords ...string) bool {
	if !s.at(keywords...) {
		return false
	}
	s.skip()
	return true
}

// takeAll skips a run of any of the keywords.
func (s *scanner) takeAll(keywords ...string) {
	for s.take(keywords...) {
	}
}

// name reads a table's name, qualified or not, as database.table.
func (s *scanner) name() string {
	schema, name := s.db, s.ident()
	if s.take(".") {
		schema, name = name, s.ident()
	}
	return schema + "." + name
}

func (s *scanner) ident() string {
	if w := s.peek(); w.kind == plainWord || w.kind == quotedName {
		return s.skip().raw
	}
	return ""
}

// names reads a list of names with commas between.
func (s *scanner) names() []string {
	out := []string{s.name()}
	for s.take(",") {
		out = append(out, s.name())
	}
	return out
}

// mentions lists every name that the rest of the statement could mean as a
// table: each word, and each pair of words with a dot between.
func (s *scanner) mentions() []string {
	var out []string
	for i, w := range s.words {
		if w.kind != plainWord && w.kind != quotedName {
			continue
		}
		if i+2 < len(s.words) && s.words[i+1].text == "." && s.words[i+1].kind == symbol {
			out = append(out, w.raw+"."+s.words[i+2].raw)
		}
		out = append(out, s.db+"."+w.raw)
	}
	return out
}
