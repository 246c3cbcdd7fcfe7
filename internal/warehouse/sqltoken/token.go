// Package sqltoken cuts SQL into tokens as a warehouse's lexer does.
//
// The tokens cover the text without gaps. Cutting never fails: what is not closed
// reaches to the end, and the warehouse's parser complains about it.
package sqltoken

import "strings"

// Kind says what a token is, as far as those who rewrite queries have to know.
type Kind uint8

// The kinds of tokens.
const (
	Space     Kind = iota + 1 // white space and comments
	Text                      // a string
	Word                      // a name or keyword, not quoted
	Quoted                    // a quoted name
	Parameter                 // @x, $x, $1 or ?
	Number
	Symbol // one character of anything else
)

// Token is a piece of a text, from Start up to End, in bytes.
type Token struct {
	Kind       Kind
	Start, End int
}

// cut applies scan, which returns the kind of the token at a place and its end.
func cut(sql string, scan func(sql string, at int) (Kind, int)) []Token {
	var out []Token
	for at := 0; at < len(sql); {
		kind, end := scan(sql, at)
		out = append(out, Token{kind, at, end})
		at = end
	}
	return out
}

func run(s string, in func(byte) bool) int {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

// line returns the length of the rest of the line, with its end.
func line(s string) int {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return i + 1
	}
	return len(s)
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isWordStart(c byte) bool {
	return c == '_' || c >= 0x80 || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isWord(c byte) bool { return isWordStart(c) || isDigit(c) }
