package postgres

import "unicode/utf8"

// maxArrayDims is PostgreSQL's own bound.
const maxArrayDims = 6

// appendArray appends an array as JSON text: {{1,2},{3,NULL}} becomes
// [[1,2],[3,null]]. Numbers and booleans stay what they are (NaN and the
// infinities, which JSON has not, become strings), JSON is embedded, all else
// becomes a string. An array whose bounds do not start at 1 is a string that
// holds its text, because a JSON array could not say so.
func appendArray(dst, text []byte, elem codec) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, errNotUTF8
	}
	if len(text) > 0 && text[0] == '[' {
		return appendJSONString(dst, text), nil
	}
	p := arrayParser{text: text, elem: elem}
	dst, ok := p.array(dst, 0)
	if !ok || len(p.text) > 0 {
		return nil, errNotText
	}
	return dst, nil
}

type arrayParser struct {
	text    []byte
	elem    codec
	scratch []byte
}

func (p *arrayParser) array(dst []byte, depth int) ([]byte, bool) {
	if depth == maxArrayDims || len(p.text) < 2 || p.text[0] != '{' {
		return dst, false
	}
	p.text = p.text[1:]
	dst = append(dst, '[')
	if p.text[0] == '}' {
		p.text = p.text[1:]
		return append(dst, ']'), true
	}
	for {
		var ok bool
		if len(p.text) > 0 && p.text[0] == '{' {
			dst, ok = p.array(dst, depth+1)
		} else {
			dst, ok = p.element(dst)
		}
		if !ok || len(p.text) == 0 {
			return dst, false
		}
		c := p.text[0]
		p.text = p.text[1:]
		switch c {
		case ',':
			dst = append(dst, ',')
		case '}':
			return append(dst, ']'), true
		default:
			return dst, false
		}
	}
}

func (p *arrayParser) element(dst []byte) ([]byte, bool) {
	if len(p.text) == 0 {
		return dst, false
	}
	if p.text[0] == '"' {
		p.scratch = p.scratch[:0]
		for i := 1; i < len(p.text); i++ {
			switch c := p.text[i]; c {
			case '"':
				p.text = p.text[i+1:]
				return p.value(dst, p.scratch), true
			case '\\':
				if i++; i == len(p.text) {
					return dst, false
				}
				p.scratch = append(p.scratch, p.text[i])
			default:
				p.scratch = append(p.scratch, c)
			}
		}
		return dst, false
	}
	n := 0
	for n < len(p.text) && p.text[n] != ',' && p.text[n] != '}' {
		if p.text[n] == '"' || p.text[n] == '{' || p.text[n] == '\\' {
			return dst, false
		}
		n++
	}
	if n == 0 {
		return dst, false
	}
	text := p.text[:n]
	p.text = p.text[n:]
	if string(text) == "NULL" {
		return append(dst, "null"...), true
	}
	return p.value(dst, text), true
}

func (p *arrayParser) value(dst, text []byte) []byte {
	switch p.elem {
	case codecBool:
		if string(text) == "t" {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case codecInt, codecFloat4, codecFloat8, codecDecimal:
		if n := len(text); n > 0 && text[n-1] >= '0' && text[n-1] <= '9' { // NaN and Infinity end otherwise
			return append(dst, text...)
		}
	case codecJSON:
		return append(dst, text...)
	}
	return appendJSONString(dst, text)
}

func appendJSONString(dst, text []byte) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
