package postgres

import (
	"bytes"
	"errors"
	"fmt"

	"millrace/schemas"
)

// copyRows takes the text of COPY TO apart, row by row. It is the io.Writer to
// which the rows are copied.
type copyRows struct {
	row    func(fields []field) error
	fields []field
	rest   []byte // of a row whose end has not come yet
	plain  []byte // fields without their escapes; grows before the row is read, never while
}

var errCopy = errors.New("not the text of COPY")

// Write takes bytes of the copy; rows may be cut anywhere.
func (c *copyRows) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n') // a newline in a value is escaped
		if end < 0 {
			c.rest = append(c.rest, p...)
			break
		}
		line := p[:end]
		if len(c.rest) > 0 {
			c.rest = append(c.rest, line...)
			line = c.rest
		}
		if err := c.line(line); err != nil {
			return 0, err
		}
		c.rest, p = c.rest[:0], p[end+1:]
	}
	return n, nil
}

func (c *copyRows) line(line []byte) error {
	if cap(c.plain) < len(line) {
		c.plain = make([]byte, 0, 2*len(line))
	}
	c.plain, c.fields = c.plain[:0], c.fields[:0]
	for {
		end := bytes.IndexByte(line, '\t') // a tab in a value is escaped
		text := line
		if end >= 0 {
			text = line[:end]
		}
		f := field{kind: fieldText, data: text}
		if at := bytes.IndexByte(text, '\\'); at >= 0 {
			if len(text) == 2 && text[1] == 'N' {
				f = field{kind: fieldNull}
			} else {
				var err error
				if f.data, err = c.unescape(text, at); err != nil {
					return err
				}
			}
		}
		c.fields = append(c.fields, f)
		if end < 0 {
			return c.row(c.fields)
		}
		line = line[end+1:]
	}
}

func (c *copyRows) unescape(text []byte, at int) ([]byte, error) {
	from := len(c.plain)
	c.plain = append(c.plain, text[:at]...)
	for i := at; i < len(text); i++ {
		b := text[i]
		if b == '\\' {
			if i++; i == len(text) {
				return nil, fmt.Errorf("%w: it ends in a backslash", errCopy)
			}
			switch b = text[i]; b {
			case 'b':
				b = '\b'
			case 'f':
				b = '\f'
			case 'n':
				b = '\n'
			case 'r':
				b = '\r'
			case 't':
				b = '\t'
			case 'v':
				b = '\v'
			}
		}
		c.plain = append(c.plain, b)
	}
	return c.plain[from:len(c.plain):len(c.plain)], nil
}

// cloneCells copies cells with what they point to.
func cloneCells(cells []schemas.Cell) []schemas.Cell {
	out := make([]schemas.Cell, len(cells))
	for i, c := range cells {
		out[i] = c
		if c.Bytes != nil {
			out[i].Bytes = append([]byte{}, c.Bytes...)
		}
	}
	return out
}
