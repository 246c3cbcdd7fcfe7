package up

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"millrace/schemas"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

// Loads that a pod of another version announces are read by that version's schema,
// which is asked for once.
func TestLoadsOfAnotherVersion(t *testing.T) {
	const own, other, unknown = 3, 4, 5
	older := strings.Replace(avro.LoadCompleteSchema, `,{"name":"traceparent","type":["null","string"],"default":null}`, "", 1)
	if older == avro.LoadCompleteSchema {
		t.Fatal("the schema's last field has another name")
	}
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; r.URL.Path != "/schemas/ids/4" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if err := json.NewEncoder(w).Encode(map[string]string{"schema": older}); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	client, err := registry.New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	d := &derivers{process: &process{registry: client}, loadsID: own, decoders: map[uint32]*avro.LoadDecoder{}}
	event := schemas.LoadComplete{Table: "core.orders", Load: 7, Epoch: 2}
	body, err := avro.AppendLoadComplete(nil, &event)
	if err != nil {
		t.Fatal(err)
	}
	for id, written := range map[uint32][]byte{own: body, other: body[:len(body)-1]} { // the last byte says that there is no traceparent
		for range 2 {
			if got, err := d.decodeLoad(t.Context(), append(avro.AppendHeader(nil, id), written...)); err != nil || got.Load != 7 || got.Table != "core.orders" {
				t.Errorf("by schema %d: %+v, %v", id, got, err)
			}
		}
	}
	if asked != 1 {
		t.Errorf("the registry was asked %d times", asked)
	}
	if _, err := d.decodeLoad(t.Context(), append(avro.AppendHeader(nil, unknown), body...)); err == nil {
		t.Error("an event of a schema that nobody knows is read")
	}
}
