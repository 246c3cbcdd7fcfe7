package producers

import (
	"encoding/json"
	"testing"

	"millrace/schemas"
)

// On the embedded broker the last transaction may be torn, so the state is the
// one before it, whichever of its records are there; on Kafka it is the last.
func TestResumeBelievesWhatCannotBeTorn(t *testing.T) {
	at := func(token string) json.RawMessage {
		raw, err := json.Marshal(checkpoint{Epoch: 1, Token: []byte(token)})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	state := func(partitions int32) json.RawMessage {
		raw, err := json.Marshal(tableState{Table: &schemas.Table{Name: "a"}, Partitions: partitions})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for name, c := range map[string]struct {
		position   *record
		table      *record
		torn       bool
		token      string
		partitions int32 // of the table; 0: it does not count yet
	}{
		"kafka":                    {&record{N: 7, Base: 6, Value: at("7"), Previous: at("6")}, &record{N: 7, Base: 6, Value: state(7), Previous: state(6)}, false, "7", 7},
		"whole":                    {&record{N: 7, Base: 6, Value: at("7"), Previous: at("6")}, &record{N: 7, Base: 6, Value: state(7), Previous: state(6)}, true, "6", 6},
		"its checkpoint is lost":   {&record{N: 6, Base: 5, Value: at("6"), Previous: at("5")}, &record{N: 7, Base: 6, Value: state(7), Previous: state(6)}, true, "6", 6},
		"its table is lost":        {&record{N: 7, Base: 6, Value: at("7"), Previous: at("6")}, &record{N: 4, Base: 3, Value: state(4), Previous: state(3)}, true, "6", 4},
		"its table is new":         {&record{N: 7, Base: 6, Value: at("7"), Previous: at("6")}, &record{N: 7, Base: 6, Value: state(7), Previous: json.RawMessage("null")}, true, "6", 0},
		"killed twice":             {&record{N: 8, Base: 6, Value: at("8"), Previous: at("6")}, &record{N: 7, Base: 6, Value: state(7), Previous: state(6)}, true, "6", 6},
		"nothing but the first":    {&record{N: 1, Value: at("1")}, nil, true, "", 0},
		"a table without a source": {nil, &record{N: 1, Value: state(1)}, true, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			tables := map[string]*record{}
			if c.table != nil {
				tables["a"] = c.table
			}
			got, err := resume(c.position, tables, c.torn)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Token) != c.token || got.tables["a"].Partitions != c.partitions {
				t.Errorf("resumed at %q with %d partitions, want %q and %d", got.Token, got.tables["a"].Partitions, c.token, c.partitions)
			}
		})
	}
}
