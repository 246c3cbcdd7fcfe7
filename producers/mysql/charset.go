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
	ascii   bool // bytes below 0x80 mean themselves, and only they
	decoder encoding.Encoding
}

// binaryCharset is the character set of columns that hold bytes.
const binaryCharset = "binary"

// charsetOf returns the charset with the server's name.
func charsetOf(name string) (charset, error) {
	switch name {
	case "utf8mb4", "utf8mb3", "utf8", "ascii":
		return charset{name: name, ascii: true}, nil
	}
	var enc encoding.Encoding
	ascii := true
	switch name {
	case "latin1": // the server's latin1 is cp1252
		enc = charmap.Windows1252
	case "latin2":
		enc = charmap.ISO8859_2
	case "latin5":
		enc = charmap.ISO8859_9
	case "latin7":
		enc = charmap.ISO8859_13
	case "greek":
		enc = charmap.ISO8859_7
	case "hebrew":
		enc = charmap.ISO8859_8
	case "cp850":
		enc = charmap.CodePage850
	case "cp852":
		enc = charmap.CodePage852
	case "cp866":
		enc = charmap.CodePage866
	case "cp1250":
		enc = charmap.Windows1250
	case "cp1251":
		enc = charmap.Windows1251
	case "cp1256":
		enc = charmap.Windows1256
	case "cp1257":
		enc = charmap.Windows1257
	case "koi8r":
		enc = charmap.KOI8R
	case "koi8u":
		enc = charmap.KOI8U
	case "macroman":
		enc = charmap.Macintosh
	case "tis620":
		enc = charmap.Windows874
	case "gbk", "gb2312":
		enc = simplifiedchinese.GBK
	case "big5":
		enc = traditionalchinese.Big5
	case "sjis", "cp932":
		enc, ascii = japanese.ShiftJIS, false // 0x5c and 0x7e are not ASCII's in every sjis
	case "ujis", "eucjpms":
		enc = japanese.EUCJP
	case "euckr":
		enc = korean.EUCKR
	case "ucs2", "utf16":
		enc, ascii = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), false
	case "utf16le":
		enc, ascii = unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), false
	case "utf32":
		enc, ascii = utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM), false
	default:
		return charset{}, fmt.Errorf("character set %q is not known here", name)
	}
	return charset{name: name, ascii: ascii, decoder: enc}, nil
}

// utf8Of returns text as UTF-8: itself where its bytes are UTF-8 already, else a
// copy. Bytes that are no text of the set are an error, never a replacement
// character (G12).
func (c charset) utf8Of(text []byte) ([]byte, error) {
	switch {
	case c.ascii && isASCII(text):
		return text, nil
	case c.decoder == nil && c.name == "ascii":
		return nil, fmt.Errorf("bytes %s are not ascii", shown(text))
	case c.decoder == nil:
		if !utf8.Valid(text) {
			return nil, fmt.Errorf("bytes %s are not %s", shown(text), c.name)
		}
		return text, nil
	}
	out, err := c.decoder.NewDecoder().Bytes(text)
	if err != nil {
		return nil, fmt.Errorf("convert %s from %s: %w", shown(text), c.name, err)
	}
	if bytes.ContainsRune(out, utf8.RuneError) {
		return nil, fmt.Errorf("bytes %s are not %s", shown(text), c.name)
	}
	return out, nil
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
