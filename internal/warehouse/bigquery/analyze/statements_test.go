package analyze

import (
	"regexp"
	"strings"
)

// split cuts a text into statements at its semicolons, comments taken away.
func split(text string) (out []string) {
	var b strings.Builder
	flush := func() {
		if s := strings.TrimSpace(b.String()); s != "" {
			out = append(out, s)
		}
		b.Reset()
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'' || c == '`' || c == '"':
			end := i + 1
			for end < len(text) && text[end] != c {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			b.WriteString(text[i:min(end+1, len(text))])
			i = end
		case c == '-' && strings.HasPrefix(text[i:], "--"):
			if end := strings.IndexByte(text[i:], '\n'); end >= 0 {
				i += end
			} else {
				i = len(text)
			}
		case c == ';':
			flush()
		default:
			b.WriteByte(c)
		}
	}
	flush()
	return out
}

var (
	set       = regexp.MustCompile(`(?s)^SET [^=]* = (.*)$`)
	condition = regexp.MustCompile(`(?s)^IF (.*?) THEN\s(.*)$`)
	declare   = regexp.MustCompile(`^DECLARE ([\w, ]+) (INT64|STRING)\b`)
	name      = regexp.MustCompile(`\b(n_\w+|this_\w+)\b`)
)

// plain is a script's statement as statements that the analyzer knows: what
// belongs to scripts alone is the shell of them. vars are the types of the
// script's variables; in place of one stands a null of its type.
func plain(statement string, vars map[string]string) []string {
	if m := declare.FindStringSubmatch(statement); m != nil {
		for _, v := range strings.Split(m[1], ",") {
			vars[strings.TrimSpace(v)] = m[2]
		}
		return nil
	}
	if strings.HasPrefix(statement, "END IF") {
		return nil
	}
	if m := condition.FindStringSubmatch(statement); m != nil {
		return append(plain("SET x = "+m[1], vars), plain(m[2], vars)...)
	}
	if m := set.FindStringSubmatch(statement); m != nil {
		statement = "SELECT " + m[1]
	}
	return []string{name.ReplaceAllStringFunc(statement, func(v string) string {
		if t, ok := vars[v]; ok {
			return "CAST(NULL AS " + t + ")"
		}
		return v
	})}
}
