package schemas

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Tags of the canonical key, one byte before each value.
const (
	tagNull byte = iota
	tagBool
	tagInt
	tagFloat
	tagDecimal
	tagBytes
	tagString
	tagDate
	tagTime
	tagTimestamp
)

// AppendKey appends the canonical key of row: two spellings of one key are one
// key, whatever the version of the schema that carried them. Per key column,
// in key order: a tag byte, the length of the value as uvarint, the value.
// It fails if a key column is not carried.
func AppendKey(dst []byte, t *Table, row Row) ([]byte, error) {
	for _, ord := range t.Key {
		if ord >= len(row) || row[ord].Kind == Unset {
			return dst, fmt.Errorf("key column %q of %s is not carried", t.Columns[ord].Name, t.ID())
		}
		dst = appendKeyCell(dst, t.Columns[ord].Type, row[ord])
	}
	return dst, nil
}

// AppendKeyValues is AppendKey for cells that stand in key order, without the
// other columns: cells[i] is the value of types[i].
func AppendKeyValues(dst []byte, types []Type, cells []Cell) []byte {
	for i, c := range cells {
		dst = appendKeyCell(dst, types[i], c)
	}
	return dst
}

func appendKeyCell(dst []byte, t Type, c Cell) []byte {
	if c.Kind != Present {
		return append(dst, tagNull, 0)
	}
	switch t.Kind {
	case Bool:
		return append(dst, tagBool, 1, byte(c.Int&1))
	case Int:
		return appendKeyInt(dst, tagInt, c.Int)
	case Float:
		return appendKeyInt(dst, tagFloat, canonicalFloat(c.Int))
	case Date:
		return appendKeyInt(dst, tagDate, c.Int)
	case Time:
		return appendKeyInt(dst, tagTime, c.Int)
	case Timestamp, DateTime:
		return appendKeyInt(dst, tagTimestamp, c.Int)
	case Decimal:
		return appendKeyDecimal(dst, c.Bytes, t.Scale)
	case Bytes:
		return appendKeyBytes(dst, tagBytes, c.Bytes)
	default: // String, JSON
		return appendKeyBytes(dst, tagString, c.Bytes)
	}
}

func appendKeyInt(dst []byte, tag byte, v int64) []byte {
	dst = append(dst, tag, 8)
	return binary.BigEndian.AppendUint64(dst, uint64(v))
}

func appendKeyBytes(dst []byte, tag byte, b []byte) []byte {
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// canonicalFloat makes -0 and 0 one value, and every NaN one value.
func canonicalFloat(bits int64) int64 {
	f := math.Float64frombits(uint64(bits))
	switch {
	case f == 0:
		return 0
	case math.IsNaN(f):
		f = math.NaN()
		return int64(math.Float64bits(f))
	}
	return bits
}

// Murmur2 is the hash by which Kafka's own clients choose a partition.
func Murmur2(b []byte) uint32 {
	const (
		seed uint32 = 0x9747b28c
		m    uint32 = 0x5bd1e995
	)
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b)
		k *= m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// Partition is the partition of a canonical key among n.
func Partition(key []byte, n int32) int32 {
	return int32(Murmur2(key)&0x7fffffff) % n
}
