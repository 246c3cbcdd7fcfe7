package bigqueryfake

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/golang/snappy"
)

// avroField is a field of the records of a file. The reader is this fake's own,
// so that what wrote the file is not what judges it.
type avroField struct {
	name    string
	kind    string // a primitive type
	logical string
	sql     string
	// precision and scale of a decimal.
	precision, scale int
	optional         bool
	nullAt           int64 // the branch of a union that is null
}

// avroFile reads the records of an object container file.
func avroFile(file []byte) (fields []avroField, rows [][]value, err error) {
	r := &avroReader{in: file}
	if !bytes.HasPrefix(file, []byte("Obj\x01")) {
		return nil, nil, errors.New("the file is not an Avro file")
	}
	r.in = file[4:]
	meta := map[string]string{}
	for n := r.long(); n != 0 && r.err == nil; n = r.long() {
		if n < 0 {
			n = -n
			r.long() // the block's size
		}
		for range n {
			key := string(r.bytes())
			meta[key] = string(r.bytes())
		}
	}
	sync := r.take(16)
	if r.err != nil {
		return nil, nil, r.err
	}
	if fields, err = avroSchema(meta["avro.schema"]); err != nil {
		return nil, nil, err
	}
	for len(r.in) > 0 && r.err == nil {
		count := r.long()
		block, err := inflate(meta["avro.codec"], r.bytes())
		if err != nil {
			return nil, nil, err
		}
		if r.err == nil && !bytes.Equal(r.take(16), sync) {
			return nil, nil, errors.New("a block does not end with the file's sync marker")
		}
		inner := &avroReader{in: block}
		for range count {
			row := make([]value, len(fields))
			for i, f := range fields {
				row[i] = inner.field(f)
			}
			if inner.err != nil {
				return nil, nil, inner.err
			}
			rows = append(rows, row)
		}
		if len(inner.in) > 0 {
			return nil, nil, fmt.Errorf("%d bytes are left behind the last record of a block", len(inner.in))
		}
	}
	return fields, rows, r.err
}

func inflate(codec string, block []byte) ([]byte, error) {
	switch codec {
	case "", "null":
		return block, nil
	case "deflate":
		return io.ReadAll(flate.NewReader(bytes.NewReader(block)))
	case "snappy":
		if len(block) < crc32.Size {
			return nil, errors.New("a block ends before its checksum")
		}
		packed, sum := block[:len(block)-crc32.Size], block[len(block)-crc32.Size:]
		out, err := snappy.Decode(nil, packed)
		if err == nil && crc32.ChecksumIEEE(out) != binary.BigEndian.Uint32(sum) {
			err = errors.New("a block is not what its checksum says")
		}
		return out, err
	}
	return nil, fmt.Errorf("codec %s is not in the set of this fake", codec)
}

func avroSchema(text string) ([]avroField, error) {
	var record struct {
		Type   string `json:"type"`
		Fields []struct {
			Name string          `json:"name"`
			Type json.RawMessage `json:"type"`
		} `json:"fields"`
	}
	if err := json.Unmarshal([]byte(text), &record); err != nil || record.Type != "record" {
		return nil, fmt.Errorf("the file's schema is not that of a record: %w", err)
	}
	var out []avroField
	for _, f := range record.Fields {
		field := avroField{name: f.Name}
		typ := f.Type
		var union []json.RawMessage
		if json.Unmarshal(typ, &union) == nil {
			if len(union) != 2 {
				return nil, fmt.Errorf("field %s: only unions of null and one type are in the set of this fake", f.Name)
			}
			field.optional, typ = true, union[1]
			if string(union[0]) != `"null"` {
				field.nullAt, typ = 1, union[0]
			}
		}
		if json.Unmarshal(typ, &field.kind) != nil {
			var full struct {
				Type        string `json:"type"`
				LogicalType string `json:"logicalType"`
				SQLType     string `json:"sqlType"`
				Precision   int    `json:"precision"`
				Scale       int    `json:"scale"`
			}
			if err := json.Unmarshal(typ, &full); err != nil {
				return nil, fmt.Errorf("field %s: this type is not in the set of this fake: %w", f.Name, err)
			}
			field.kind, field.logical, field.sql = full.Type, full.LogicalType, full.SQLType
			field.precision, field.scale = full.Precision, full.Scale
		}
		out = append(out, field)
	}
	return out, nil
}

// avroReader takes values off the bytes; after an error it takes nothing.
type avroReader struct {
	in  []byte
	err error
}

func (r *avroReader) take(n int64) []byte {
	if r.err == nil && (n < 0 || n > int64(len(r.in))) {
		r.err = errors.New("the file ends inside a value")
	}
	if r.err != nil {
		return make([]byte, min(max(n, 0), 16))
	}
	out := r.in[:n]
	r.in = r.in[n:]
	return out
}

func (r *avroReader) long() int64 {
	v, n := binary.Varint(r.in)
	if n <= 0 {
		r.take(int64(len(r.in)) + 1)
		return 0
	}
	r.in = r.in[n:]
	return v
}

func (r *avroReader) bytes() []byte { return r.take(r.long()) }

// field reads a value as the write path would give it.
func (r *avroReader) field(f avroField) value {
	if f.optional && r.long() == f.nullAt {
		return nil
	}
	switch f.kind {
	case "boolean":
		return r.take(1)[0] != 0
	case "int", "long":
		return f.integer(r.long())
	case "float":
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(r.take(4))))
	case "double":
		return math.Float64frombits(binary.LittleEndian.Uint64(r.take(8)))
	case "string":
		return string(r.bytes())
	case "bytes":
		b := append([]byte{}, r.bytes()...)
		if f.logical == "decimal" {
			return decimalText(b, f.scale)
		}
		return b
	}
	if r.err == nil {
		r.err = fmt.Errorf("field %s: type %s is not in the set of this fake", f.name, f.kind)
	}
	return nil
}

func (f avroField) integer(v int64) value {
	at := time.UnixMicro(v).UTC()
	switch f.logical {
	case "time-micros":
		return at.Format("15:04:05.999999")
	case "local-timestamp-micros":
		return at.Format("2006-01-02 15:04:05.999999")
	case "timestamp-millis":
		return v * 1000
	}
	return v
}

// decimalText spells a number that is given as two's complement.
func decimalText(b []byte, scale int) string {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	sign, digits := "", n.String()
	if n.Sign() < 0 {
		sign, digits = "-", digits[1:]
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

// column is the type that a column must have to take the field. Of the types
// that a job allows for decimals, the first that holds all of their digits is
// taken.
func (f avroField) column(decimals []string) string {
	if len(decimals) == 0 {
		decimals = []string{"NUMERIC"}
	}
	switch f.logical {
	case "decimal":
		if whole := f.precision - f.scale; slices.Contains(decimals, "NUMERIC") && (whole <= 29 && f.scale <= 9 || len(decimals) == 1) {
			return "NUMERIC"
		} else if slices.Contains(decimals, "BIGNUMERIC") && (whole <= 38 && f.scale <= 38 || !slices.Contains(decimals, "STRING")) {
			return "BIGNUMERIC"
		}
		return "STRING"
	case "date":
		return "DATE"
	case "time-micros":
		return "TIME"
	case "timestamp-micros", "timestamp-millis":
		return "TIMESTAMP"
	case "local-timestamp-micros":
		return "DATETIME"
	}
	if f.kind == "string" && f.sql == "JSON" {
		return "JSON"
	}
	return map[string]string{"boolean": "BOOL", "int": "INT64", "long": "INT64", "float": "FLOAT64", "double": "FLOAT64", "string": "STRING", "bytes": "BYTES"}[f.kind]
}
