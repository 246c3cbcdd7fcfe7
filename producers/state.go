package producers

import (
	"encoding/json"
	"fmt"

	"millrace/schemas"
)

// checkpoint is how far a source has been sent. It is the only record of the
// topic of positions, and written by every transaction.
type checkpoint struct {
	Epoch    uint32           `json:"epoch"`
	Token    []byte           `json:"token,omitempty"` // bytes: JSON would change what is not UTF-8
	Last     schemas.Position `json:"last,omitzero"`   // what lies at or below it was sent; may lie beyond Token
	Complete schemas.Progress `json:"complete,omitzero"`
	// Floor is the greatest Complete there ever was, counted or not: watermarks
	// below it would fall back.
	Floor schemas.Progress `json:"floor,omitzero"`
}

// tableState is what is known of a table, as of the checkpoint's token. It is a
// record of the topic of snapshots, by the table's ID.
type tableState struct {
	Table      *schemas.Table   `json:"table"`
	State      []byte           `json:"state,omitempty"`
	Since      schemas.Position `json:"since,omitzero"`
	Dropped    bool             `json:"dropped,omitempty"`
	Partitions int32            `json:"partitions"`
	KeyID      uint32           `json:"key_id"`
	ValueID    uint32           `json:"value_id"`
	Snapshot   snapshotState    `json:"snapshot"`
	Rereads    []reread         `json:"rereads,omitempty"`
}

type snapshotState struct {
	Running bool           `json:"running,omitempty"`
	After   []schemas.Cell `json:"after,omitempty"` // the last key of the last chunk that was done
	Rows    int64          `json:"rows,omitempty"`
	// Low and High are the lowest and the highest read point of the chunks that
	// were done; High also of the keys that were read again, since ever.
	Low  schemas.Position `json:"low,omitzero"`
	High schemas.Position `json:"high,omitzero"`
	// Above is the last change that called for this snapshot: chunks read at or
	// below it do not count.
	Above schemas.Position `json:"above,omitzero"`
	// Overflow says that it reads the keys of rereads that were too many to keep.
	Overflow bool `json:"overflow,omitempty"`
}

// restart begins the snapshot again, above the position.
func (s *snapshotState) restart(above schemas.Position, overflow bool) {
	*s = snapshotState{Running: true, High: s.High, Above: schemas.MaxPosition(s.Above, above), Overflow: overflow}
}

// reread is a key whose row lacks a value; its row is read again, and counts if
// the read point lies above the last change that called for it.
type reread struct {
	Key   []schemas.Cell   `json:"key"`
	Above schemas.Position `json:"above"`
}

// record is a checkpoint or a tableState in its topic.
//
// Transactions are numbered. On the embedded broker the last one may be torn,
// so it counts for nothing: with N the greatest number in both topics, and Base
// what its records say, the state is the one as of Base, and a record with a
// greater number counts by its Previous. Base is N-1, but for the first
// transaction after a resume, whose Base is what was resumed from: a second
// kill must not bring back what the first one undid.
type record struct {
	N        int64           `json:"n"`
	Base     int64           `json:"base"`
	Writer   string          `json:"writer"` // the process that wrote it
	Value    json.RawMessage `json:"value"`
	Previous json.RawMessage `json:"previous,omitempty"` // embedded broker only
}

// resumed is the state that a producer goes on from.
type resumed struct {
	n      int64  // the greatest number seen
	base   int64  // the state is as of it
	writer string // of n
	checkpoint
	saved  json.RawMessage // of the checkpoint
	tables map[string]tableState
	raw    map[string]json.RawMessage // of the tables; null for one that does not count yet
	undone []string                   // tables whose newest record does not count
	// least is the epoch that the source begins in; above the checkpoint's until
	// that has it.
	least uint32
}

// beginAgain has the source begin at the end of its log if the checkpoint is of
// an earlier epoch. The token goes before the epoch is written: a checkpoint of the
// new epoch that still had it would be resumed at. All else stays: what was sent
// lies below every position of the epoch.
func (r *resumed) beginAgain(epoch uint32) (begins bool) {
	r.least = epoch
	if begins = r.Epoch != 0 && r.Epoch < epoch; begins {
		r.Token = nil
	}
	return begins
}

// resume works out the state from the last record of each key of both topics.
// torn says that the last transaction may be.
func resume(position *record, tables map[string]*record, torn bool) (*resumed, error) {
	out := &resumed{tables: make(map[string]tableState), raw: make(map[string]json.RawMessage)}
	see := func(r *record) {
		if r.N > out.n || out.n == 0 {
			out.n, out.base, out.writer = r.N, r.Base, r.Writer
		}
	}
	if position != nil {
		see(position)
	}
	for _, r := range tables {
		see(r)
	}
	if !torn {
		out.base = out.n
	}
	counts := func(r *record) json.RawMessage {
		if r.N > out.base {
			return r.Previous
		}
		return r.Value
	}
	if position != nil {
		out.saved = counts(position)
	}
	if len(out.saved) > 0 {
		if err := json.Unmarshal(out.saved, &out.checkpoint); err != nil {
			return nil, fmt.Errorf("read checkpoint %d: %w", position.N, err)
		}
	}
	if position != nil && len(position.Value) > 0 {
		var newest checkpoint
		if err := json.Unmarshal(position.Value, &newest); err != nil {
			return nil, fmt.Errorf("read checkpoint %d: %w", position.N, err)
		}
		out.Floor = newest.Floor
	}
	for id, r := range tables {
		if r.N > out.base {
			out.undone = append(out.undone, id)
		}
		raw := counts(r)
		out.raw[id] = raw
		if len(raw) == 0 || string(raw) == "null" {
			continue
		}
		var state tableState
		if err := json.Unmarshal(raw, &state); err != nil {
			return nil, fmt.Errorf("read state of table %s in transaction %d: %w", id, r.N, err)
		}
		out.tables[id] = state
	}
	return out, nil
}

// start is what the source is opened with.
func (r *resumed) start() Start {
	s := Start{Epoch: max(r.Epoch, r.least), Token: schemas.Token(r.Token), Last: r.Last, Tables: make(map[string]TableVersion, len(r.tables))}
	for id, t := range r.tables {
		s.Tables[id] = TableVersion{Table: t.Table, State: t.State, Since: t.Since, Dropped: t.Dropped}
	}
	return s
}
