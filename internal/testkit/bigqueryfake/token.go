package bigqueryfake

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tokenKind tells tokens of GoogleSQL apart.
type tokenKind int

const (
	tokenWord   tokenKind = iota // a keyword or an unquoted identifier
	tokenIdent                   // an identifier between backticks; text is without them
	tokenString                  // text is the value
	tokenBytes                   // text is the value
	tokenNumber
	tokenParam  // @name; text is the name
	tokenSystem // @@name
	tokenSymbol
)

// token is one token, with where it stands in the text.
type token struct {
	kind tokenKind
	text string
	line int
	col  int
}

// is reports whether the token is one of the keywords or symbols, which are in
// upper case.
func (t token) is(words ...string) bool {
	if t.kind != tokenWord && t.kind != tokenSymbol {
		return false
	}
	for _, w := range words {
		if strings.EqualFold(t.text, w) {
			return true
		}
	}
	return false
}

// named reports whether the token can be a name.
func (t token) named() bool { return t.kind == tokenWord || t.kind == tokenIdent }

// symbols of more than one character, the longer ones first.
var symbols = []string{"<=>", "<=", ">=", "<>", "!=", "||", "<<", ">>", "=>"}

// scan splits the text. Comments are dropped.
func scan(text string) ([]token, error) {
	s := &scanner{text: text, line: 1, col: 1}
	var out []token
	for {
		s.skip()
		if s.at >= len(s.text) {
			return out, nil
		}
		t := token{line: s.line, col: s.col}
		if err := s.next(&t); err != nil {
			return nil, fmt.Errorf("Syntax error: %w at [%d:%d]", err, t.line, t.col) //nolint:staticcheck // the service's words
		}
		out = append(out, t)
	}
}

type scanner struct {
	text      string
	at        int
	line, col int
}

func (s *scanner) advance(n int) {
	for _, r := range s.text[s.at : s.at+n] {
		s.col++
		if r == '\n' {
			s.line, s.col = s.line+1, 1
		}
	}
	s.at += n
}

// skip passes spaces and comments.
func (s *scanner) skip() {
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch {
		case strings.ContainsRune(" \t\r\n", rune(rest[0])):
			s.advance(1)
		case strings.HasPrefix(rest, "--") || rest[0] == '#':
			if end := strings.IndexByte(rest, '\n'); end >= 0 {
				s.advance(end)
			} else {
				s.advance(len(rest))
			}
		case strings.HasPrefix(rest, "/*"):
			if end := strings.Index(rest[2:], "*/"); end >= 0 {
				s.advance(end + 4)
			} else {
				s.advance(len(rest))
			}
		default:
			return
		}
	}
}

func isLetter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (s *scanner) next(t *token) error {
	rest := s.text[s.at:]
	switch c := rest[0]; {
	case c == '\'' || c == '"':
		return s.quoted(t, 0, tokenString)
	case c == '`':
		return s.quoted(t, 0, tokenIdent)
	case len(rest) > 1 && strings.IndexByte("rRbB", c) >= 0 && (rest[1] == '\'' || rest[1] == '"'):
		if c == 'b' || c == 'B' {
			return s.quoted(t, 1, tokenBytes)
		}
		return fmt.Errorf("raw strings are not in the set of this fake")
	case isLetter(c):
		t.kind = tokenWord
		t.text = rest[:run(rest, func(c byte) bool { return isLetter(c) || isDigit(c) })]
		s.advance(len(t.text))
	case isDigit(c) || c == '.' && len(rest) > 1 && isDigit(rest[1]):
		t.kind, t.text = tokenNumber, rest[:numberLen(rest)]
		s.advance(len(t.text))
	case c == '@':
		at := 1
		t.kind = tokenParam
		if strings.HasPrefix(rest, "@@") {
			at, t.kind = 2, tokenSystem
		}
		t.text = rest[at : at+run(rest[at:], func(c byte) bool { return isLetter(c) || isDigit(c) })]
		if t.text == "" {
			return fmt.Errorf("unexpected %q", "@")
		}
		s.advance(at + len(t.text))
	default:
		t.kind = tokenSymbol
		for _, symbol := range symbols {
			if strings.HasPrefix(rest, symbol) {
				t.text = symbol
				s.advance(len(symbol))
				return nil
			}
		}
		if strings.IndexByte("()[],;.+-*/=<>?:|&^~", c) < 0 {
			r, _ := utf8.DecodeRuneInString(rest)
			return fmt.Errorf("illegal input character %q", r)
		}
		t.text = rest[:1]
		s.advance(1)
	}
	return nil
}

func run(s string, in func(byte) bool) int {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

func numberLen(s string) int {
	n := run(s, func(c byte) bool { return isDigit(c) || c == '.' })
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		m := n + 1
		if m < len(s) && (s[m] == '+' || s[m] == '-') {
			m++
		}
		if d := run(s[m:], isDigit); d > 0 {
			n = m + d
		}
	}
	return n
}

// quoted reads what stands between quotes, behind a prefix.
func (s *scanner) quoted(t *token, prefix int, kind tokenKind) error {
	rest := s.text[s.at+prefix:]
	quote := rest[0]
	if quote != '`' && strings.HasPrefix(rest, strings.Repeat(string(quote), 3)) {
		return fmt.Errorf("triple quotes are not in the set of this fake")
	}
	var b strings.Builder
	for i := 1; i < len(rest); {
		switch c := rest[i]; c {
		case quote:
			s.advance(prefix + i + 1)
			t.kind, t.text = kind, b.String()
			return nil
		case '\n':
			return fmt.Errorf("unclosed string literal")
		case '\\':
			n, err := unescape(&b, rest[i:], kind)
			if err != nil {
				return err
			}
			i += n
		default:
			b.WriteByte(c)
			i++
		}
	}
	return fmt.Errorf("unclosed string literal")
}

// unescape writes the character that an escape sequence stands for, and returns
// the length of the sequence.
func unescape(b *strings.Builder, s string, kind tokenKind) (int, error) {
	if len(s) < 2 {
		return 0, fmt.Errorf("unclosed string literal")
	}
	const plain = `abfnrtv\?"'` + "`"
	if i := strings.IndexByte(plain, s[1]); i >= 0 {
		b.WriteByte("\a\b\f\n\r\t\v\\?\"'`"[i])
		return 2, nil
	}
	digits := map[byte]int{'x': 2, 'X': 2, 'u': 4, 'U': 8}[s[1]]
	if digits == 0 || len(s) < 2+digits {
		return 0, fmt.Errorf(`illegal escape sequence \%c`, s[1])
	}
	v, err := strconv.ParseUint(s[2:2+digits], 16, 32)
	if err != nil {
		return 0, fmt.Errorf(`illegal escape sequence %s`, s[:2+digits])
	}
	if kind == tokenBytes {
		b.WriteByte(byte(v))
	} else {
		b.WriteRune(rune(v)) // \x is a character in a string
	}
	return 2 + digits, nil
}

// quoteText is a string literal of DuckDB.
func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// quoteName is an identifier of DuckDB.
func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// quoteBytes is a literal of DuckDB's BLOB.
func quoteBytes(s string) string { return "from_hex('" + hex.EncodeToString([]byte(s)) + "')" }
