package mongodb

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/internal/testkit/mongofake"
	"millrace/schemas"
)

// TestTypes: one value gives the same bytes whether the snapshot reads it or the
// stream carries it, in every type of column (G3).
func TestTypes(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	table := Table{Name: "t"}
	for i, kind := range []schemas.Kind{schemas.Bool, schemas.Int, schemas.Float, schemas.String, schemas.Bytes, schemas.Date, schemas.Timestamp, schemas.JSON} {
		table.Columns = append(table.Columns, Column{Name: fmt.Sprint("c", i), Path: "v", Type: typeOf(kind)})
	}
	table.Columns = append(table.Columns, Column{Name: "money", Path: "v", Type: money})
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, table).open()
	docs := []any{bson.D{{Key: "_id", Value: int64(1)}, {Key: "v", Value: bson.DateTime(86400000)}}} // a midnight is rare
	for i := range 300 {
		docs = append(docs, bson.D{{Key: "_id", Value: int64(i + 1000)}, {Key: "v", Value: anyValue(rng, 3)}})
	}
	c.insert("t", docs...)
	c.sync()
	streamed := c.of("t")
	rows, _, err := c.chunk(c.version("t"), nil, len(docs))
	c.must(err)
	if len(streamed) != len(docs) || len(rows) != len(docs) {
		t.Fatalf("%d streamed, %d read of %d", len(streamed), len(rows), len(docs))
	}
	fits := map[int]int{}
	for i := range rows {
		for j := range rows[i].After {
			a, b := streamed[i].After[j], rows[i].After[j]
			if a.Kind != b.Kind || a.Int != b.Int || !bytes.Equal(a.Bytes, b.Bytes) {
				t.Fatalf("seed %d: %v: streamed %v, read %v", seed, docs[i], a, b)
			}
			if a.Kind == schemas.Present {
				fits[j]++
			}
			column := streamed[i].Table.Columns[j]
			if text := string(streamed[i].After[conflictOrd].Bytes); j > conflictOrd && strings.Contains(text, `"`+column.Name+`":`) && a.Kind != schemas.Null {
				t.Fatalf("seed %d: %v: column %s has a value and stands in %s", seed, docs[i], column.Name, text)
			}
		}
	}
	for j, column := range streamed[0].Table.Columns {
		if fits[j] == 0 {
			t.Errorf("seed %d: no value at all fitted %s", seed, column.Type)
		}
	}
}
