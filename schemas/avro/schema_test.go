package avro

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"

	"millrace/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // a golden file
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, text, want)
	}
}

func indent(t *testing.T, schema string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(schema), "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

func TestSchemasGolden(t *testing.T) {
	golden(t, "value.avsc", indent(t, ValueSchema(everyKind())))
	golden(t, "key.avsc", indent(t, KeySchema(everyKind())))
	golden(t, "load_complete.avsc", indent(t, LoadCompleteSchema))
}

func TestSchemasPassTheGate(t *testing.T) {
	for _, s := range []string{ValueSchema(everyKind()), KeySchema(everyKind()), LoadCompleteSchema} {
		if err := Check(s); err != nil {
			t.Error(err)
		}
	}
}

func TestSchemaRoundTrip(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // a seed
	r := rand.New(rand.NewPCG(seed, 2))
	tables := []*schemas.Table{everyKind()}
	for range 200 {
		tables = append(tables, randomTable(r))
	}
	for _, table := range tables {
		columns, err := ParseValueSchema(ValueSchema(table))
		if err != nil || !slices.Equal(columns, table.Columns) {
			t.Fatalf("seed=%d: read back %+v, wrote %+v: %v", seed, columns, table.Columns, err)
		}
		if dec, err := NewDecoder(ValueSchema(table)); err != nil || dec.Description() != table.Description {
			t.Fatalf("seed=%d: read back the description %q, wrote %q: %v", seed, dec.Description(), table.Description, err)
		}
		if len(table.Key) == 0 {
			if KeySchema(table) != "" {
				t.Fatalf("seed=%d: a table without a key has a key schema", seed)
			}
			continue
		}
		key, err := ParseKeySchema(KeySchema(table))
		if err != nil || !slices.Equal(key, table.KeyColumns()) {
			t.Fatalf("seed=%d: read back %+v, wrote %+v: %v", seed, key, table.KeyColumns(), err)
		}
	}
}

func TestNames(t *testing.T) {
	for topic, want := range map[string]string{
		"shop.orders_db.public.orders":    "shop.orders_db.public.orders",
		"shop.eu-1.public.order items.g2": "shop.eu_1.public.order_items.g2",
		"shop.2024.public.9":              "shop._2024.public._9",
		"shop..x":                         "shop._.x",
		"":                                "_",
		"a.":                              "a._",
	} {
		if got := namespace(topic); got != want {
			t.Errorf("namespace of %q is %q, want %q", topic, got, want)
		}
	}
	for column, want := range map[string]string{
		"plain": "plain", "a b": "a_x20b", "a_x20b": "a_x5Fx20b", "_x2": "_x2", "_x2g": "_x2g", "1st": "_x31st",
		"é": "_xC3_xA9", "a-1": "a_x2D1", "_x41": "_x5Fx41",
	} {
		if got := fieldName(column); got != want {
			t.Errorf("field name of %q is %q, want %q", column, got, want)
		}
	}
}

func TestFieldNamesAreDistinct(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // a seed
	r := rand.New(rand.NewPCG(seed, 3))
	alphabet := []string{"_", "x", "5", "F", "2", "0", " ", "_x", "_x20", "é"}
	columns := map[string]string{}
	for range 20_000 {
		var b strings.Builder
		for range 1 + r.IntN(6) {
			b.WriteString(alphabet[r.IntN(len(alphabet))])
		}
		name := fieldName(b.String())
		if other, ok := columns[name]; ok && other != b.String() {
			t.Fatalf("seed=%d: %q and %q are both %q", seed, other, b.String(), name)
		}
		columns[name] = b.String()
	}
}

// A schema that is no change event of ours is refused with its reason, not
// misread, and a recursive one does not run away.
func TestForeignSchemas(t *testing.T) {
	valid := ValueSchema(everyKind())
	swap := func(old, with string) string {
		out := strings.Replace(valid, old, with, 1)
		if out == valid {
			t.Fatalf("%s is not in the schema", old)
		}
		return out
	}
	for name, c := range map[string]struct{ schema, reason string }{
		"no JSON":         {`{`, "parse schema"},
		"no record":       {`"string"`, "no change event"},
		"another record":  {`{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}`, "no change event"},
		"recursive":       {`{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}`, "no change event"},
		"another order":   {strings.NewReplacer(`"name":"op"`, `"name":"pos"`, `"name":"pos"`, `"name":"op"`).Replace(valid), `field 0 is "pos"`},
		"recursive row":   {swap(`["null","boolean"]`, `["null","Row"]`), "no column has the type"},
		"not nullable":    {swap(`["null","boolean"],"default":null`, `"boolean"`), `is not ["null", T]`},
		"null second":     {swap(`["null","boolean"],"default":null`, `["boolean","null"]`), `is not ["null", T]`},
		"three branches":  {swap(`["null","boolean"]`, `["null","boolean","long"]`), `is not ["null", T]`},
		"float":           {swap(`["null","double"]`, `["null","float"]`), "no column has the type float"},
		"other docs":      {swap(`"doc":"Commit time`, `"doc":"Time`), ""},
		"nanos":           {swap(`"local-timestamp-micros"`, `"timestamp-nanos"`), "logicalType timestamp-nanos"},
		"two columns":     {swap(`"column":"tenant id"`, `"column":"id"`), `a second column "id"`},
		"precision":       {swap(`"precision":120`, `"precision":5000`), "want a precision from 1 to 1000"},
		"ts_us":           {swap(`"name":"ts_us","type":{"type":"long","logicalType":"timestamp-micros"}`, `"name":"ts_us","type":"string"`), "ts_us"},
		"unset":           {swap(`{"type":"array","items":"string"}`, `{"type":"array","items":"long"}`), "unset"},
		"since":           {swap(`"name":"since","type":["null","string"],"default":null`, `"name":"since","type":"string"`), "since"},
		"before":          {swap(`"name":"before","type":["null","Row"]`, `"name":"before","type":["null","string"]`), "before is string"},
		"source":          {swap(`{"name":"connector","type":"string"}`, `{"name":"connector","type":"bytes"}`), "source: field connector"},
		"recursive below": {swap(`{"name":"connector","type":"string"}`, `{"name":"connector","type":["null","Source"]}`), "source: field connector"},
	} {
		_, err := NewDecoder(c.schema)
		if c.reason == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
	for _, s := range []string{`"long"`, `{"type":"record","name":"Key","fields":[]}`, `{"type":"record","name":"Key","fields":[{"name":"a","type":"long"}]}`} {
		if _, err := NewKeyDecoder(s); err == nil {
			t.Errorf("key schema %s is accepted", s)
		}
	}
}

// What a later version may add to Source and Transaction is skipped.
func TestSourceMayGrow(t *testing.T) {
	table := everyKind()
	enc, _ := newCodec(t, table)
	schema := strings.Replace(ValueSchema(table), `{"name":"connector","type":"string"}`,
		`{"name":"connector","type":"string"},{"name":"shard","type":["null","long"]},{"name":"zone","type":"string"}`, 1)
	schema = strings.Replace(schema, `{"name":"id","type":"string"}`, `{"name":"lsn","type":"long"},{"name":"id","type":"string"}`, 1)
	d, err := NewDecoder(schema)
	if err != nil {
		t.Fatal(err)
	}
	value, err := enc.AppendValue(nil, &schemas.Change{Table: table, Op: schemas.Watermark, Position: schemas.Position{Epoch: 1}, TxID: "9", TxOrder: 4})
	if err != nil {
		t.Fatal(err)
	}
	old := append(appendString(nil, "postgresql"), appendString(nil, table.Source)...)
	grown := append(appendString(nil, "postgresql"), branchValue, 14)
	grown = append(appendString(grown, "eu"), appendString(nil, table.Source)...)
	b := bytes.Replace(body(t, value), old, grown, 1)
	tx := append([]byte{branchValue}, appendString(nil, "9")...)
	at := bytes.LastIndex(b, tx)
	b = slices.Insert(b, at+1, 42)
	var e Envelope
	var o Origin
	if err := d.Envelope(b, &e); err != nil {
		t.Fatal(err)
	}
	if err := d.Origin(&e, &o); err != nil || string(o.Name) != table.Source || o.TxOrder != 4 || string(o.TxID) != "9" {
		t.Fatalf("origin %+v: %v", o, err)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"nonsense":          `{"type":"nonsense"}`,
		"a kind of nothing": ValueSchema(&schemas.Table{Topic: "t", Columns: []schemas.Column{{Name: "a"}}}),
		"two decimals, one without a scale, at which goavro panics": `{"type":"record","name":"R","fields":[
			{"name":"a","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}},
			{"name":"b","type":{"type":"bytes","logicalType":"decimal","precision":4}}]}`,
	} {
		if err := Check(s); err == nil || !strings.HasPrefix(err.Error(), "check schema") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// That the schemas are goavro's too, not only ours:
	if _, err := goavro.NewCodec(ValueSchema(everyKind())); err != nil {
		t.Error(err)
	}
}

func TestNormal(t *testing.T) {
	a, err := Normal(`{"type":"record", "name":"R","fields":[{"name":"a","type":"long","doc":"<1>"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Normal("{\"name\":\"R\",\n\"type\":\"record\",\"fields\":[{\"doc\":\"<1>\",\"type\":\"long\",\"name\":\"a\"}]}")
	if err != nil || a != b {
		t.Errorf("%s and %s: %v", a, b, err)
	}
	if c, _ := Normal(strings.Replace(a, "1", "2", 1)); c == a {
		t.Error("another doc has the same normal form")
	}
	for _, schema := range []string{"", "{", `"long" "long"`} {
		if _, err := Normal(schema); err == nil {
			t.Errorf("%q has a normal form", schema)
		}
	}
	if n, _ := Normal(`{"default":9007199254740993}`); n != `{"default":9007199254740993}` {
		t.Errorf("a long default became %s", n)
	}
}
