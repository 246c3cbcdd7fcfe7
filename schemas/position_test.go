package schemas

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func randomPosition(rng *rand.Rand) Position {
	// Few values per part, so that equal parts are frequent.
	pick := func() uint64 { return []uint64{0, 1, 9, 10, 255, 1 << 31, 1<<64 - 1}[rng.IntN(7)] }
	return Position{Epoch: uint32(pick() & 0xffffffff), Major: pick(), Minor: pick(), Seq: uint32(pick() & 0xffffffff)}
}

func TestPositionTextKeepsTheOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		p, q := randomPosition(rng), randomPosition(rng)
		if got, want := strings.Compare(p.String(), q.String()), p.Compare(q); got != want {
			t.Fatalf("%q and %q compare %d as text, %d as positions", p, q, got, want)
		}
		back, err := ParsePosition([]byte(p.String()))
		if err != nil || back != p {
			t.Fatalf("ParsePosition(%q) = %v, %v", p, back, err)
		}
	}
}

func TestPositionForm(t *testing.T) {
	p := Position{Epoch: 1, Major: 0xABC, Minor: 2, Seq: 0xFFFFFFFF}
	const want = "00000001/0000000000000ABC/0000000000000002/FFFFFFFF"
	if p.String() != want || len(want) != PositionLen {
		t.Fatalf("got %s, want %s", p, want)
	}
	if got := (Position{}).String(); got != "" {
		t.Fatalf("the zero position is %q, want empty", got)
	}
	text, err := json.Marshal(struct{ P Position }{p})
	if err != nil || string(text) != `{"P":"`+want+`"}` {
		t.Fatalf("json %s, %v", text, err)
	}
}

func TestParsePositionRefuses(t *testing.T) {
	for _, text := range []string{
		"1", "00000001/0000000000000abc/0000000000000002/FFFFFFFF",
		"00000001-0000000000000ABC/0000000000000002/FFFFFFFF",
		"00000000/0000000000000000/0000000000000000/00000000",
		"00000001/0000000000000ABC/0000000000000002/FFFFFFFF0", "0000001\x00/0000000000000ABC/0000000000000002/FFFFFFFF",
	} {
		if p, err := ParsePosition([]byte(text)); err == nil {
			t.Errorf("ParsePosition(%q) = %v, want an error", text, p)
		}
	}
}

// Every byte at every place: what is not the digit's one spelling is refused.
func TestPositionDigits(t *testing.T) {
	const valid = "89ABCDEF/0123456789ABCDEF/FEDCBA9876543210/00000001"
	for i := range valid {
		for c := range 256 {
			text := []byte(valid)
			text[i] = byte(c)
			p, err := ParsePosition(text)
			taken := strings.IndexByte("0123456789ABCDEF", byte(c)) >= 0
			if valid[i] == '/' {
				taken = c == '/'
			}
			if (err == nil) != taken {
				t.Fatalf("ParsePosition(%q): %v", text, err)
			}
			if taken && p.String() != fmt.Sprintf("%08X/%016X/%016X/%08X", p.Epoch, p.Major, p.Minor, p.Seq) || taken && p.String() != string(text) {
				t.Fatalf("%q became %s", text, p)
			}
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add([]byte("00000001/0000000000000ABC/0000000000000002/FFFFFFFF"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := ParsePosition(text); err == nil && p.String() != string(text) {
			t.Fatalf("%q was read as %q", text, p)
		}
	})
}

func BenchmarkPositionAppendText(b *testing.B) {
	p := Position{Epoch: 1, Major: 0xABCDEF, Minor: 0x123456, Seq: 7}
	var dst [PositionLen]byte
	b.ReportAllocs()
	for b.Loop() {
		_, _ = p.AppendText(dst[:0])
	}
}
