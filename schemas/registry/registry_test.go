package registry

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
)

// The whole API, as the client of the Kafka library sees it, and once more
// after a restart.
func TestThroughClient(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	cl := b.client()
	first, err := cl.CreateSchema(ctx, "orders-value", sr.Schema{Schema: numbered(1)})
	if err != nil || first.ID != 1 || first.Version != 1 {
		t.Fatalf("%+v: %v", first, err)
	}
	spaced, err := cl.CreateSchema(ctx, "orders-value", sr.Schema{Schema: strings.ReplaceAll(numbered(1), ",", " ,\n")})
	if err != nil || spaced.ID != 1 || spaced.Version != 1 {
		t.Errorf("the same with white space: %+v: %v", spaced, err)
	}
	second, err := cl.CreateSchema(ctx, "orders-value", sr.Schema{Schema: numbered(2)})
	if err != nil || second.ID != 2 || second.Version != 2 {
		t.Errorf("%+v: %v", second, err)
	}
	elsewhere, err := cl.CreateSchema(ctx, "a/b c-value", sr.Schema{Schema: numbered(2)})
	if err != nil || elsewhere.ID != 2 || elsewhere.Version != 1 || elsewhere.Subject != "a/b c-value" {
		t.Errorf("the same under another subject: %+v: %v", elsewhere, err)
	}
	for _, res := range cl.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatFullTransitive}, "orders-value") {
		if res.Err != nil || res.Level != sr.CompatFullTransitive {
			t.Errorf("%+v", res)
		}
	}
	for range 2 {
		look := func(name string, got any, err error, want any) {
			t.Helper()
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, want %+v: %v", name, got, want, err)
			}
		}
		s, err := cl.SchemaByID(ctx, 2)
		look("by id", s.Schema, err, numbered(2))
		text, err := cl.SchemaTextByID(ctx, 2)
		look("text by id", text, err, numbered(2))
		usages, err := cl.SchemaVersionsByID(ctx, 2)
		look("versions by id", usages, err, []sr.SubjectVersion{{Subject: "a/b c-value", Version: 1}, {Subject: "orders-value", Version: 2}})
		names, err := cl.SubjectsByID(ctx, 1)
		look("subjects by id", names, err, []string{"orders-value"})
		subjects, err := cl.Subjects(ctx)
		look("subjects", subjects, err, []string{"a/b c-value", "orders-value"})
		versions, err := cl.SubjectVersions(ctx, "orders-value")
		look("versions", versions, err, []int{1, 2})
		last, err := cl.SchemaByVersion(ctx, "orders-value", -1)
		look("latest", last.ID, err, 2)
		old, err := cl.SchemaTextByVersion(ctx, "orders-value", 1)
		look("text of version", old, err, numbered(1))
		found, err := cl.LookupSchema(ctx, "orders-value", sr.Schema{Schema: numbered(1) + " "})
		look("lookup", [2]int{found.ID, found.Version}, err, [2]int{1, 1})
		types, err := cl.SupportedTypes(ctx)
		look("types", types, err, []sr.SchemaType{sr.TypeAvro})
		is, err := cl.CheckCompatibility(ctx, "orders-value", -1, sr.Schema{Schema: numbered(3)})
		look("compatible", is.Is, err, true)
		is, err = cl.CheckCompatibility(ctx, "orders-value", 1, sr.Schema{Schema: stranger})
		look("incompatible", is.Is, err, false)
		if len(is.Messages) == 0 || !strings.Contains(is.Messages[0], "version 1") {
			t.Errorf("incompatible: %q", is.Messages)
		}
		level := cl.Compatibility(ctx, "orders-value")[0]
		look("level", level.Level, level.Err, sr.CompatFullTransitive)
		level = cl.Compatibility(ctx)[0]
		look("level of all", level.Level, level.Err, sr.CompatBackward)
		mode := cl.Mode(ctx)[0]
		look("mode", mode.Mode, mode.Err, sr.ModeReadWrite)
		b.restart()
		cl = b.client()
	}
	if res := cl.ResetCompatibility(ctx, "orders-value")[0]; res.Err != nil || res.Level != sr.CompatFullTransitive {
		t.Errorf("%+v", res)
	}
	b.restart()
	if status, answer := b.call("GET", "/config/orders-value", ""); status != 404 || !strings.Contains(answer, "40408") {
		t.Errorf("%d %s", status, answer)
	}
	if _, answer := b.call("GET", "/config/orders-value?defaultToGlobal=true", ""); !strings.Contains(answer, "BACKWARD") {
		t.Error(answer)
	}
}

func TestErrorsOfTheAPI(t *testing.T) {
	b := newBench(t)
	b.mustRegister("s", numbered(1))
	b.mustRegister("s", numbered(2))
	quoted := func(schema string) string {
		body, _ := json.Marshal(sr.Schema{Schema: schema})
		return string(body)
	}
	for _, c := range []struct {
		method, path, body string
		status, code       int
	}{
		{"POST", "/subjects/s/versions", quoted(stranger), 409, 409},
		{"POST", "/subjects/s/versions", quoted(`{"type":"nonsense"}`), 422, 42201},
		{"POST", "/subjects/s/versions", quoted(``), 422, 42201},
		{"POST", "/subjects/s/versions", `{`, 422, 42201},
		{"POST", "/subjects/s/versions", `{"schema":"syntax = \"proto3\";","schemaType":"PROTOBUF"}`, 422, 42201},
		{"POST", "/subjects/s/versions", `{"schema":"\"long\"","references":[{"name":"x","subject":"s","version":1}]}`, 422, 42201},
		{"POST", "/subjects/s", quoted(`{"type":"nonsense"}`), 422, 42201},
		{"POST", "/subjects/s", quoted(stranger), 404, 40403},
		{"POST", "/subjects/x", quoted(stranger), 404, 40401},
		{"GET", "/schemas/ids/3", "", 404, 40403},
		{"GET", "/schemas/ids/x", "", 404, 40403},
		{"GET", "/schemas/ids/3/versions", "", 404, 40403},
		{"GET", "/subjects/x/versions", "", 404, 40401},
		{"GET", "/subjects/x/versions/1", "", 404, 40401},
		{"GET", "/subjects/s/versions/3", "", 404, 40402},
		{"GET", "/subjects/s/versions/3/schema", "", 404, 40402},
		{"GET", "/subjects/s/versions/zero", "", 422, 42202},
		{"GET", "/subjects/s/versions/0", "", 422, 42202},
		{"PUT", "/config/s", `{"compatibility":"SIDEWAYS"}`, 422, 42203},
		{"PUT", "/config", `{"compatibility":""}`, 422, 42203},
		{"GET", "/config/s", "", 404, 40408},
		{"DELETE", "/config/s", "", 404, 40408},
		{"DELETE", "/subjects/x", "", 404, 40401},
		{"DELETE", "/subjects/s?permanent=true", "", 422, 42201},
		{"POST", "/compatibility/subjects/s/versions/9", quoted(numbered(1)), 404, 40402},
		{"POST", "/compatibility/subjects/s/versions/latest", quoted(`{"type":"nonsense"}`), 422, 42201},
		{"PUT", "/mode", `{"mode":"IMPORT"}`, 404, 404},
	} {
		status, answer := b.call(c.method, c.path, c.body)
		var e struct {
			Code int    `json:"error_code"`
			Text string `json:"message"`
		}
		if err := json.Unmarshal([]byte(answer), &e); err != nil || status != c.status || e.Code != c.code || e.Text == "" {
			t.Errorf("%s %s %s: %d %s, want %d and %d", c.method, c.path, c.body, status, answer, c.status, c.code)
		}
	}
	if _, answer := b.call("GET", "/subjects/s/versions", ""); answer != "[1,2]" {
		t.Errorf("what was refused left %s", answer)
	}
}

func TestLevels(t *testing.T) {
	b := newBench(t)
	b.mustRegister("s", numbered(1))
	b.call("PUT", "/config/s", `{"compatibility":"NONE"}`)
	if id := b.mustRegister("s", stranger); id != 2 {
		t.Errorf("id %d", id)
	}
	b.call("PUT", "/config", `{"compatibility":"FULL"}`)
	b.call("DELETE", "/config/s", "")
	b.restart()
	needed := `{"type":"record","name":"R","fields":[]}` // forward-incompatible alone
	if status, answer := b.register("s", needed); status != 409 || !strings.Contains(answer, "FULL") {
		t.Errorf("%d %s", status, answer)
	}
	b.call("DELETE", "/config", "")
	if id := b.mustRegister("s", needed); id != 3 {
		t.Errorf("id %d", id)
	}
}

// A deleted version's number and id are not used again, and the id keeps its
// meaning.
func TestSoftDelete(t *testing.T) {
	b := newBench(t)
	for n := range 3 {
		b.mustRegister("s", numbered(n))
	}
	if status, answer := b.call("DELETE", "/subjects/s/versions/2", ""); status != 200 || answer != "2" {
		t.Errorf("%d %s", status, answer)
	}
	if _, answer := b.call("GET", "/subjects/s/versions", ""); answer != "[1,3]" {
		t.Error(answer)
	}
	if _, answer := b.call("GET", "/subjects/s/versions?deleted=true", ""); answer != "[1,2,3]" {
		t.Error(answer)
	}
	if status, answer := b.call("DELETE", "/subjects/s/versions/2", ""); status != 404 {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := b.call("DELETE", "/subjects/s", ""); status != 200 || answer != "[1,3]" {
		t.Errorf("%d %s", status, answer)
	}
	b.kafka.Compact()
	b.restart()
	if _, answer := b.call("GET", "/subjects", ""); answer != "[]" {
		t.Error(answer)
	}
	if _, answer := b.call("GET", "/schemas/ids/2/schema", ""); answer != numbered(1) {
		t.Error(answer)
	}
	if id := b.mustRegister("s", stranger); id != 4 { // nothing live stands against it
		t.Errorf("id %d", id)
	}
	if id := b.mustRegister("t", numbered(2)); id != 3 {
		t.Errorf("id %d", id)
	}
	if _, answer := b.call("GET", "/subjects/s/versions", ""); answer != "[4]" {
		t.Error(answer)
	}
}

// Many at once, and restarts in between: ids are 1, 2, 3 … without a gap, one
// schema has one id, and no id changes its meaning.
func TestConcurrentRegistration(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // a seed
	b := newBench(t)
	ids := map[string]int{}
	const different = 20
	for round := range 3 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(round*8+worker))) //nolint:gosec // small
				for range 10 {
					schema := numbered(r.IntN(different * (round + 1) / 3))
					id := b.mustRegister(fmt.Sprintf("s%d", r.IntN(3)), schema)
					mu.Lock()
					if was, ok := ids[schema]; ok && was != id {
						t.Errorf("seed=%d: one schema is %d and %d", seed, was, id)
					}
					ids[schema] = id
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if round == 1 {
			b.kafka.Compact()
		}
		b.restart()
	}
	used := map[int]bool{}
	for schema, id := range ids {
		if id < 1 || id > len(ids) || used[id] {
			t.Errorf("seed=%d: id %d of %d schemas", seed, id, len(ids))
		}
		used[id] = true
		if _, answer := b.call("GET", fmt.Sprintf("/schemas/ids/%d/schema", id), ""); answer != schema {
			t.Errorf("seed=%d: schema %d is %s, was %s", seed, id, answer, schema)
		}
	}
}
