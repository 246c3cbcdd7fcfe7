package mongofake

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// builder writes one BSON document from front to back. Documents that are
// stored already go in as bytes.
type builder struct {
	b     []byte
	stack []int // where the open documents begin
	index []int // the next index of an open array; -1 in a document
}

func newBuilder(b []byte) *builder {
	w := &builder{b: b}
	w.begin(-1)
	return w
}

func (w *builder) begin(index int) {
	w.stack = append(w.stack, len(w.b))
	w.index = append(w.index, index)
	w.b = append(w.b, 0, 0, 0, 0)
}

// end closes the document or array that was opened last.
func (w *builder) end() {
	last := len(w.stack) - 1
	w.b = append(w.b, 0)
	start := w.stack[last]
	binary.LittleEndian.PutUint32(w.b[start:], uint32(len(w.b)-start))
	w.stack, w.index = w.stack[:last], w.index[:last]
}

// doc closes the outermost document and returns it.
func (w *builder) doc() bson.Raw {
	start := w.stack[0]
	w.end()
	return bson.Raw(w.b[start:])
}

func (w *builder) head(t bson.Type, key string) {
	w.b = append(w.b, byte(t))
	if last := len(w.index) - 1; w.index[last] >= 0 {
		w.b = strconv.AppendInt(w.b, int64(w.index[last]), 10)
		w.index[last]++
	} else {
		w.b = append(w.b, key...)
	}
	w.b = append(w.b, 0)
}

func (w *builder) open(key string) {
	w.head(bson.TypeEmbeddedDocument, key)
	w.begin(-1)
}

func (w *builder) openArray(key string) {
	w.head(bson.TypeArray, key)
	w.begin(0)
}

func (w *builder) value(key string, v bson.RawValue) {
	w.head(v.Type, key)
	w.b = append(w.b, v.Value...)
}

func (w *builder) raw(key string, doc bson.Raw) {
	w.head(bson.TypeEmbeddedDocument, key)
	w.b = append(w.b, doc...)
}

func (w *builder) str(key, v string) {
	w.head(bson.TypeString, key)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(len(v)+1))
	w.b = append(append(w.b, v...), 0)
}

func (w *builder) int(key string, v int) {
	w.head(bson.TypeInt32, key)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(int32(v)))
}

func (w *builder) long(key string, v int64) {
	w.head(bson.TypeInt64, key)
	w.b = binary.LittleEndian.AppendUint64(w.b, uint64(v))
}

func (w *builder) bool(key string, v bool) {
	w.head(bson.TypeBoolean, key)
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

func (w *builder) null(key string) { w.head(bson.TypeNull, key) }

func (w *builder) time(key string, at uint64) {
	w.head(bson.TypeTimestamp, key)
	w.b = binary.LittleEndian.AppendUint64(w.b, at) // the increment lies before the seconds: one little-endian number
}

func (w *builder) date(key string, ms int64) {
	w.head(bson.TypeDateTime, key)
	w.b = binary.LittleEndian.AppendUint64(w.b, uint64(ms))
}

func (w *builder) uuid(key string, id [16]byte) {
	w.head(bson.TypeBinary, key)
	w.b = binary.LittleEndian.AppendUint32(w.b, 16)
	w.b = append(append(w.b, bson.TypeBinaryUUID), id[:]...)
}

// any writes a value that was made of Go's types. That it cannot be written is
// a mistake of this package.
func (w *builder) any(key string, v any) {
	if v == nil {
		w.null(key)
		return
	}
	t, data, err := bson.MarshalValue(v)
	if err != nil {
		panic(fmt.Sprintf("mongofake: write %s: %v", key, err))
	}
	w.head(t, key)
	w.b = append(w.b, data...)
}

// all writes the elements of a document.
func (w *builder) all(doc bson.Raw) {
	if len(doc) > 5 {
		w.b = append(w.b, doc[4:len(doc)-1]...)
	}
}

func emptyDoc() bson.Raw { return bson.Raw{5, 0, 0, 0, 0} }

// document writes elements as a document.
func document(d bson.D) bson.Raw {
	w := newBuilder(nil)
	for _, e := range d {
		w.any(e.Key, e.Value)
	}
	return w.doc()
}
