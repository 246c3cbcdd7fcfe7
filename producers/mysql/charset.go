package mysql

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// charset turns text of one of the server's character sets into UTF-8. Both the
// binlog and the snapshot hand over the column's own bytes, so one conversion
// serves both and gives the same bytes (G3).
type charset struct {
	name    string
	ascii   bool              // bytes below 0x80 mean themselves
	single  *charmap.Charmap  // of the sets with one byte a character
	decoder encoding.Encoding // of the others
}

// binaryCharset is the character set of columns that hold bytes.
const binaryCharset = "binary"

// charsetOf returns the charset with the server's name.
func charsetOf(name string) (charset, error) {
	switch name {
	case "utf8mb4", "utf8mb3", "utf8", "ascii":
		return charset{name: name, ascii: true}, nil
	}
	var single *charmap.Charmap
	switch name {
	case "latin1": // the server's latin1 is cp1252
		single = charmap.Windows1252
	case "latin2":
		single = charmap.ISO8859_2
	case "latin5":
		single = charmap.ISO8859_9
	case "latin7":
		single = charmap.ISO8859_13
	case "greek":
		single = charmap.ISO8859_7
	case "hebrew":
		single = charmap.ISO8859_8
	case "cp850":
		single = charmap.CodePage850
	case "cp852":
		single = charmap.CodePage852
	case "cp866":
		single = charmap.CodePage866
	case "cp1250":
		single = charmap.Windows1250
	case "cp1251":
		single = charmap.Windows1251
	case "cp1256":
		single = charmap.Windows1256
	case "cp1257":
		single = charmap.Windows1257
	case "koi8r":
		single = charmap.KOI8R
	case "koi8u":
		single = charmap.KOI8U
	case "macroman":
		single = charmap.Macintosh
	case "tis620":
		single = charmap.Windows874
	}
	if single != nil {
		return charset{name: name, ascii: true, single: single}, nil
	}
	c := charset{name: name}
	switch name {
	case "gbk", "gb2312":
		c.decoder, c.ascii = simplifiedchinese.GBK, true
	case "big5":
		c.decoder, c.ascii = traditionalchinese.Big5, true
	case "sjis", "cp932":
		c.decoder, c.ascii = japanese.ShiftJIS, true
	case "ujis", "eucjpms":
		c.decoder, c.ascii = japanese.EUCJP, true
	case "euckr":
		c.decoder, c.ascii = korean.EUCKR, true
	case "ucs2", "utf16":
		c.decoder = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	case "utf16le":
		c.decoder = unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case "utf32":
		c.decoder = utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM)
	default:
		return charset{}, fmt.Errorf("character set %q is not known here", name)
	}
	return c, nil
}

// utf8Of returns text as UTF-8: itself where its bytes are UTF-8 already, else a
// copy. Bytes that are no text of the set are an error, never a replacement
// character (G12).
func (c charset) utf8Of(text []byte) ([]byte, error) {
	switch {
	case c.ascii && isASCII(text):
		return text, nil
	case c.single != nil:
		return c.singleBytes(text)
	case c.name == "ascii":
		return nil, c.notText(text)
	case c.decoder == nil:
		if !utf8.Valid(text) {
			return nil, c.notText(text)
		}
		return text, nil
	}
	out, err := c.decoder.NewDecoder().Bytes(text)
	if err != nil {
		return nil, fmt.Errorf("convert %s from %s: %w", shown(text), c.name, err)
	}
	if bytes.ContainsRune(out, utf8.RuneError) {
		return nil, c.notText(text)
	}
	return out, nil
}

func (c charset) singleBytes(text []byte) ([]byte, error) {
	out := make([]byte, 0, len(text)+len(text)/2)
	for _, b := range text {
		r := c.single.DecodeByte(b)
		if r == utf8.RuneError {
			if c.name != "latin1" {
				return nil, c.notText(text)
			}
			r = rune(b) // the five bytes that cp1252 leaves free are controls to the server
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

func (c charset) notText(text []byte) error {
	return fmt.Errorf("bytes %s are not %s", shown(text), c.name)
}

func isASCII(text []byte) bool {
	for _, b := range text {
		if b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// shown is the head of b in hexadecimal, for messages.
func shown(b []byte) string {
	if len(b) > 32 {
		return fmt.Sprintf("%x… (%d bytes)", b[:32], len(b))
	}
	return fmt.Sprintf("%x", b)
}
