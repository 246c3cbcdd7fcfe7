package avro

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"

	"millrace/schemas"
)

// Whatever happens to an event's bytes, reading them neither panics nor
// allocates beyond their size, and what is still accepted means what its
// canonical bytes mean.
func TestMutations(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // a seed
	r := rand.New(rand.NewPCG(seed, 5))
	table := everyKind()
	enc, d := newCodec(t, table)
	referee, err := goavro.NewCodec(ValueSchema(table))
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	var before, after runtime.MemStats
	var most uint64
	for range 10_000 {
		value, err := enc.AppendValue(nil, randomChange(r, table))
		if err != nil {
			t.Fatalf("seed=%d: %v", seed, err)
		}
		b := mutate(r, body(t, value))
		runtime.ReadMemStats(&before)
		err = d.Validate(b)
		runtime.ReadMemStats(&after)
		most = max(most, after.TotalAlloc-before.TotalAlloc)
		if err == nil {
			accepted++
			reencode(t, enc, d, table, b)
			agree(t, referee, d, table, b)
		}
	}
	if most > 64<<10 {
		t.Errorf("seed=%d: one event made %d bytes of garbage", seed, most)
	}
	if accepted == 0 || accepted == 10_000 {
		t.Errorf("seed=%d: %d of 10,000 mutations were accepted: they prove nothing", seed, accepted)
	}
}

func mutate(r *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + r.IntN(3) {
		at := r.IntN(len(b))
		switch r.IntN(6) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b[at] = byte(r.Uint32())
		case 2:
			b = b[:at+1]
		case 3:
			b = slices.Insert(b, at, byte(r.Uint32()))
		case 4:
			b = append(b[:at+1], slices.Concat(appendLong(nil, int64(r.Uint64()>>r.IntN(64))), b[at+1:])...) //nolint:gosec // any bits
		case 5:
			from := r.IntN(len(b))
			copy(b[at:], b[from:min(len(b), from+r.IntN(12))])
		}
	}
	return b
}

// reencode writes what was read of b once more: it must mean the same, and be
// the same bytes if b is canonical.
func reencode(t *testing.T, enc *Encoder, d *Decoder, table *schemas.Table, b []byte) {
	t.Helper()
	c, err := readChange(d, table, b)
	if err != nil {
		t.Fatalf("%x: valid, but not read: %v", b, err)
	}
	value, err := enc.AppendValue(nil, c)
	if err != nil {
		t.Fatalf("%x: read, but not written: %v", b, err)
	}
	again := body(t, value)
	c2, err := readChange(d, table, again)
	if err != nil {
		t.Fatalf("%x: written, but not read: %v", b, err)
	}
	if len(c.After) == 0 || !slices.ContainsFunc(c.After, func(x schemas.Cell) bool { return x.Kind == schemas.Unset }) {
		c.Since = schemas.Position{} // not written
	}
	if c.TxID == "" {
		c.TxOrder = 0 // nor this, of no transaction
	}
	if !sameChange(c, c2) {
		t.Fatalf("%x: read\n%+v, and after writing\n%+v", b, c, c2)
	}
	third, err := enc.AppendValue(nil, c2)
	if err != nil || !bytes.Equal(third, value) {
		t.Fatalf("%x: a second writing differs: %v", b, err)
	}
}

// agree says that goavro takes what we take, and for the same change.
func agree(t *testing.T, referee *goavro.Codec, d *Decoder, table *schemas.Table, b []byte) {
	t.Helper()
	native, rest, err := referee.NativeFromBinary(b)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%x: valid, but goavro leaves %d bytes: %v", b, len(rest), err)
	}
	canonical, err := referee.BinaryFromNative(nil, native)
	if err != nil {
		t.Fatalf("%x: goavro reads it and does not write it: %v", b, err)
	}
	ours, err1 := readChange(d, table, b)
	theirs, err2 := readChange(d, table, canonical)
	if err1 != nil || err2 != nil || !sameChange(ours, theirs) {
		t.Fatalf("%x: read\n%+v, goavro's canonical bytes\n%+v: %v, %v", b, ours, theirs, err1, err2)
	}
}

func FuzzDecode(f *testing.F) {
	table := everyKind()
	r := rand.New(rand.NewPCG(1, 1))
	enc, err := NewEncoder(table, "postgresql", 1, 2)
	if err != nil {
		f.Fatal(err)
	}
	for range 20 {
		value, err := enc.AppendValue(nil, randomChange(r, table))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value[HeaderLen:])
	}
	d, err := NewDecoder(ValueSchema(table))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if d.Validate(b) == nil {
			reencode(t, enc, d, table, b)
		}
	})
}

func FuzzKey(f *testing.F) {
	d, err := NewKeyDecoder(KeySchema(everyKind()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0, 2, 14})
	f.Add([]byte{2, 4, 'e', 'u', 2, 14})
	f.Fuzz(func(t *testing.T, b []byte) {
		cells, err := d.Cells(nil, b)
		if err != nil {
			return
		}
		again := []byte{}
		for i := range cells {
			if again, err = d.key[i].append(again, &cells[i]); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(again, b) { // text and integers have one form each
			t.Fatalf("%x is read as %v, which is %x", b, cells, again)
		}
	})
}

func FuzzSchema(f *testing.F) {
	f.Add(ValueSchema(everyKind()))
	f.Add(KeySchema(everyKind()))
	f.Fuzz(func(_ *testing.T, schema string) {
		_, _ = NewDecoder(schema)
		_, _ = NewKeyDecoder(schema)
	})
}
