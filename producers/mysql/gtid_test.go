package mysql

import (
	"math/rand/v2"
	"testing"
)

const (
	uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "00000000-0000-0000-0000-00000000000b"
)

func TestGTIDRanges(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		uuidA + ":1-5":      uuidA + ":1-5",
		uuidA + ":7:1-5:6 ": uuidA + ":1-7",
		uuidA + ":1-3:blue:1-2:4," + uuidB + ":9":                       uuidB + ":9," + uuidA + ":1-3:blue:1-2:4",
		uuidA + ":blue:1:red:2,\n" + uuidA + ":5":                       uuidA + ":5:blue:1:red:2",
		"3E11FA47-71CA-11E1-9E33-C80AA9429562:1-2,   " + uuidA + ":3-9": uuidA + ":1-9",
	} {
		set, err := parseGTIDRanges(text)
		if err != nil || set.String() != want {
			t.Errorf("%q: got %q, %v, want %q", text, set, err, want)
		}
	}
	for _, bad := range []string{"x", uuidA, uuidA + ":0", uuidA + ":5-2", uuidA + ":1-x", "0-1-2", uuidA + ":1-99999999999999999999"} {
		if set, err := parseGTIDRanges(bad); err == nil {
			t.Errorf("%q was read as %v", bad, set)
		}
	}
}

// In whatever order transactions end, the set is the same.
func TestGTIDRangesTakeAnyOrder(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	set := gtidRanges{}
	for _, i := range rng.Perm(200) {
		set.add(gtid{origin: uuidA, seq: uint64(i) + 1})
		set.add(gtid{origin: uuidA + ":tag", seq: uint64(2*i) + 1})
		set.add(gtid{}) // anonymous
	}
	again, err := parseGTIDRanges(set.String())
	if err != nil || again.String() != set.String() || len(set[uuidA]) != 1 || set[uuidA][0] != (gtidRange{1, 200}) || len(set[uuidA+":tag"]) != 200 {
		t.Errorf("seed=%d: %s, %v", seed, set, err)
	}
}

func TestOriginOf(t *testing.T) {
	sid := []byte{0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62}
	if got := originOf(sid, ""); got != uuidA {
		t.Errorf("got %s", got)
	}
	if got := (gtid{origin: originOf(sid, "blue"), seq: 7}).String(); got != uuidA+":blue:7" {
		t.Errorf("got %s", got)
	}
	if got := (gtid{origin: originOf(make([]byte, 16), "")}).String(); got != "" {
		t.Errorf("an anonymous transaction is %q", got)
	}
}
