package mysql

import (
	"strings"
	"testing"
)

func TestCharsets(t *testing.T) {
	for _, c := range []struct{ name, bytes, want string }{
		{"utf8mb4", "h\xc3\xa9\xf0\x9f\x98\x80", "hé😀"},
		{"ascii", "abc", "abc"},
		{"latin1", "\xe9\x80", "é€"},
		{"latin1", "\x81\x8d\x8f\x90\x9d", "\u0081\u008d\u008f\u0090\u009d"}, // the server's own reading
		{"cp1251", "\xcf\xf0", "Пр"},
		{"koi8r", "\xf0", "П"},
		{"ucs2", "\x00a\x00\xe9", "aé"},
		{"utf16", "\xd8\x3d\xde\x00", "😀"},
		{"utf16le", "\xe9\x00", "é"},
		{"utf32", "\x00\x01\xf6\x00", "😀"},
		{"sjis", "\x93\xfa\x96\x7b", "日本"},
		{"gbk", "\xd6\xd0", "中"},
		{"big5", "\xa4\xa4", "中"},
		{"euckr", "\xc7\xd1", "한"},
	} {
		set, err := charsetOf(c.name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := set.utf8Of([]byte(c.bytes))
		if err != nil || string(got) != c.want {
			t.Errorf("%s %x: %q, %v, want %q", c.name, c.bytes, got, err, c.want)
		}
	}
}

func TestBytesThatAreNoTextAreRefused(t *testing.T) {
	for _, c := range []struct{ name, bytes string }{
		{"utf8mb4", "\xff"}, {"utf8mb3", "a\xc3"}, {"ascii", "\xe9"}, {"utf16", "\xd8\x00"}, {"sjis", "\x93"}, {"gbk", "\xd6"}, {"cp1250", "\x81"},
	} {
		set, err := charsetOf(c.name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := set.utf8Of([]byte(c.bytes)); err == nil {
			t.Errorf("%s %x was read as %q", c.name, c.bytes, got)
		} else if !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: the error does not name the set: %v", c.name, err)
		}
	}
	if _, err := charsetOf("geostd8"); err == nil {
		t.Error("a set that is not known was accepted")
	}
}
