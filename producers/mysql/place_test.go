package mysql

import (
	"math"
	"strings"
	"testing"

	"millrace/schemas"
)

func TestWidenFollowsFilesBeyond4GiB(t *testing.T) {
	p, err := parsePlace("binlog.000012", 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		low  uint32
		want uint64
	}{
		{256, 256},
		{4_000_000_000, 4_000_000_000},
		{4_000_000_000, 4_000_000_000}, // the same end twice: a compressed transaction
		{100, 1<<32 + 100},             // wrapped
		{math.MaxUint32, 1<<33 - 1},    // the last byte before the next wrap
		{0, 1 << 33},                   // wrapped onto zero
		{4_294_967_000, 1<<33 + 4_294_967_000},
		{7, 3<<32 + 7},
	} {
		if p = p.widen(step.low); p.pos != step.want {
			t.Fatalf("after %d: offset %d, want %d", step.low, p.pos, step.want)
		}
	}
	if got := p.position(2, 5); got != (schemas.Position{Epoch: 2, Major: 12, Minor: 3<<32 + 7, Seq: 5}) {
		t.Fatalf("position %v", got)
	}
}

func TestPlacesOrderLikeTheirPositions(t *testing.T) {
	texts := []struct {
		file string
		pos  uint64
	}{{"binlog.000009", 900}, {"binlog.000010", 4}, {"binlog.000010", 1 << 33}, {"binlog.999999", 4}, {"binlog.1000000", 4}}
	var last place
	for i, c := range texts {
		p, err := parsePlace(c.file, c.pos)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && (last.compare(p) >= 0 || !last.after(1).Less(p.position(1, 1))) {
			t.Errorf("%v is not below %v", last, p)
		}
		if !p.position(1, math.MaxUint32-1).Less(p.after(1)) {
			t.Errorf("the read point at %v is not above its rows", p)
		}
		last = p
	}
	for _, bad := range []string{"", "binlog", ".000001", "binlog.", "binlog.x"} {
		if p, err := parsePlace(bad, 4); err == nil {
			t.Errorf("%q was read as %v", bad, p)
		}
	}
}

func TestGTIDs(t *testing.T) {
	set, err := parseLastGTIDs(" 10-2-7,0-1-100320 ")
	if err != nil {
		t.Fatal(err)
	}
	if got := set.String(); got != "0-1-100320,10-2-7" {
		t.Errorf("got %q: domains are to stand in order", got)
	}
	if empty, err := parseLastGTIDs(""); err != nil || empty.String() != "" {
		t.Errorf("nothing: %q, %v", empty, err)
	}
	for _, bad := range []string{"0-1", "0-1-x", "x", "0-1-2-3", "-1-1-1", "99999999999-1-1"} {
		if set, err := parseLastGTIDs(bad); err == nil {
			t.Errorf("%q was read as %v", bad, set)
		}
	}
}

func TestTokenRoundTrip(t *testing.T) {
	want := token{ServerID: 7, File: "binlog.000003", Pos: 1 << 40, GTIDs: "0-1-2", Created: 1767323045}
	got, at, err := parseToken(want.encode())
	if err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	if at != (place{file: "binlog.000003", number: 3, pos: 1 << 40}) {
		t.Fatalf("place %+v", at)
	}
	for _, bad := range []schemas.Token{"", "x", "{}", `{"file":"binlog"}`, `{"file":"b.1","pos":-1}`} {
		if _, _, err := parseToken(bad); err == nil || !strings.Contains(err.Error(), "parse resume token") {
			t.Errorf("token %q: %v", bad, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(string(token{ServerID: 1, File: "binlog.000001", Pos: 4, GTIDs: "0-1-1"}.encode()))
	f.Fuzz(func(t *testing.T, text string) {
		tok, at, err := parseToken(schemas.Token(text))
		if err != nil {
			return
		}
		again, at2, err := parseToken(tok.encode())
		if err != nil || again != tok || at2 != at {
			t.Fatalf("%q: %+v, then %+v, %v", text, tok, again, err)
		}
	})
}
