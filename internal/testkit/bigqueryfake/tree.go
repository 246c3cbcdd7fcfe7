package bigqueryfake

// node is a token, or a group between brackets.
type node struct {
	token
	open byte // '(', '[' or, of a type, '<' of a group; 0: a token
	list []node
}

// word reports whether the node is one of the keywords or symbols.
func (n node) word(words ...string) bool { return n.open == 0 && n.is(words...) }

// group reports whether the node is a group in parentheses.
func (n node) group() bool { return n.open == '(' }

// nest puts what stands between brackets into groups.
func nest(tokens []token) ([]node, error) {
	list, rest, err := nestUntil(tokens, "")
	if err == nil && len(rest) > 0 {
		err = invalidQuery("Syntax error: Unexpected %q at [%d:%d]", rest[0].text, rest[0].line, rest[0].col)
	}
	return list, err
}

func nestUntil(tokens []token, end string) (list []node, rest []token, err error) {
	for len(tokens) > 0 {
		t := tokens[0]
		switch {
		case t.kind == tokenSymbol && t.text == end:
			return list, tokens[1:], nil
		case t.is(">>") && end == ">": // the ends of two types
			t.text = ">"
			return list, append([]token{t}, tokens[1:]...), nil
		case t.is("(", "["), t.is("<") && len(list) > 0 && list[len(list)-1].word("ARRAY", "STRUCT"):
			closing := map[string]string{"(": ")", "[": "]", "<": ">"}[t.text]
			inner, after, err := nestUntil(tokens[1:], closing)
			if err != nil {
				return nil, nil, err
			}
			list = append(list, node{token: t, open: t.text[0], list: inner})
			tokens = after
			continue
		case t.is(")", "]"):
			return list, tokens, nil
		}
		list = append(list, node{token: t})
		tokens = tokens[1:]
	}
	if end != "" {
		return nil, nil, invalidQuery("Syntax error: Expected %q but got end of statement", end)
	}
	return list, nil, nil
}

// split cuts a list at its commas.
func split(list []node) [][]node {
	if len(list) == 0 {
		return nil
	}
	out := [][]node{nil}
	for _, n := range list {
		if n.word(",") {
			out = append(out, nil)
			continue
		}
		out[len(out)-1] = append(out[len(out)-1], n)
	}
	return out
}

// find returns the index of the first of the keywords, or -1.
func find(list []node, words ...string) int {
	for i, n := range list {
		if n.word(words...) {
			return i
		}
	}
	return -1
}

// words reports whether the list starts with the keywords.
func words(list []node, want ...string) bool {
	if len(list) < len(want) {
		return false
	}
	for i, w := range want {
		if !list[i].word(w) {
			return false
		}
	}
	return true
}

// skipWords takes the keywords off the list, if it starts with them.
func skipWords(list *[]node, want ...string) bool {
	if !words(*list, want...) {
		return false
	}
	*list = (*list)[len(want):]
	return true
}
