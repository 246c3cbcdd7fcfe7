package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"millrace/producers"
	"millrace/schemas"
)

// tableState is how a version of a table is recognised later. It is what the
// catalog said when the version was made, as far as it tells whether rows
// changed without an event.
type tableState struct {
	OID         uint32            `json:"oid"`
	PubRel      uint32            `json:"pubrel"`
	Partitioned bool              `json:"partitioned,omitempty"`
	Full        bool              `json:"full,omitempty"` // REPLICA IDENTITY FULL
	Leaves      map[uint32]uint32 `json:"leaves"`
	Columns     []columnState     `json:"columns"`
	Gone        []string          `json:"gone,omitempty"`   // names of dropped columns
	Since       schemas.Position  `json:"since,omitzero"`   // the table's, over all its versions
	Halted      string            `json:"halted,omitempty"` // why changes were left out
	// Unsettled is the end of the log when the catalog last showed that rows may
	// have changed. The DDL may lie behind the change that made us look: for
	// changes from here on, no value from below here holds. A relation message
	// from below it may be that DDL's, though the version has taken it in: it
	// counts as one more.
	Unsettled uint64 `json:"unsettled,omitempty"`
}

type columnState struct {
	Name    string            `json:"name"`
	Num     int16             `json:"num,omitempty"` // 0: the catalog no longer knew it
	TypeOID uint32            `json:"type"`
	Typmod  int32             `json:"mod"`
	Xmin    string            `json:"xmin,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// version is a version of a table with what is needed to read its rows.
type version struct {
	table *schemas.Table
	types []valueType
	state tableState
	at    uint64 // the log's end after the catalog was read for state; 0: before this process
}

// loadVersion restores a version that Open was given.
func loadVersion(v producers.TableVersion) (*version, error) {
	out := &version{table: v.Table}
	if err := json.Unmarshal(v.State, &out.state); err != nil {
		return nil, fmt.Errorf("read the state of table %s: %w", v.Table.ID(), err)
	}
	out.state.Since = schemas.MaxPosition(out.state.Since, v.Since)
	if v.Dropped {
		out.state.Halted = "dropped"
	}
	return out, nil
}

// sinceAt is the position below which no value holds for a change at pos. A
// change that the log had before the DDL that Since stands for was known
// speaks for itself alone.
func (s *tableState) sinceAt(pos schemas.Position) schemas.Position {
	since := s.Since
	if s.Unsettled != 0 && pos.Major >= s.Unsettled && pos.Epoch == since.Epoch {
		since = schemas.MaxPosition(since, schemas.Position{Epoch: since.Epoch, Major: s.Unsettled})
	}
	if pos.Less(since) {
		return pos
	}
	return since
}

// announce is the version for the producer. since is zero if no row changed
// without an event.
func (v *version) announce(since schemas.Position) (producers.TableVersion, error) {
	state, err := json.Marshal(&v.state)
	if err != nil {
		return producers.TableVersion{}, fmt.Errorf("write the state of table %s: %w", v.table.ID(), err)
	}
	return producers.TableVersion{Table: v.table, State: state, Since: since}, nil
}

// described is a column as a relation message or the catalog describes it.
type described struct {
	name    string
	typeOID uint32
	typmod  int32
}

func (t *catalogTable) described() []described {
	out := make([]described, len(t.Columns))
	for i, c := range t.Columns {
		out[i] = described{c.Name, c.TypeOID, c.Typmod}
	}
	return out
}

// identityNow is what makes a table: its name's place in the configuration
// and the names around it.
type identityNow struct {
	source, db string
	topic      func(schema, table string, generation int) string
}

// build makes the version of a table whose columns are cols. What cols do not
// say comes from cat, or, if cat is nil because the catalog is already ahead
// of the log, from the version before.
func (ty *types) build(ctx context.Context, q querier, who identityNow, c TableConfig, cols []described, key []string, cat *catalogTable, prev *version) (*version, error) {
	schema, name, _ := c.split()
	t := &schemas.Table{Source: who.source, DB: who.db, Schema: schema, Name: name, Generation: 1}
	v := &version{table: t}
	if prev != nil {
		v.state = prev.state
		v.state.Gone = slices.Clone(prev.state.Gone)
		t.Generation, t.Description = prev.table.Generation, prev.table.Description
	}
	if cat != nil {
		t.Description = cat.Description
		v.state.OID, v.state.PubRel, v.state.Partitioned = cat.OID, cat.PubRel, cat.Kind == "p"
		v.state.Full, v.state.Leaves = cat.Identity == "f", maps.Clone(cat.Leaves)
	}
	v.state.Halted, v.state.Columns = "", nil
	for _, col := range cols {
		vt, err := ty.resolve(ctx, q, col.typeOID, col.typmod)
		if err != nil {
			return nil, err
		}
		if slices.Contains(c.Text, col.name) {
			vt = textType
		}
		column := schemas.Column{Name: col.name, Type: vt.Type}
		st := columnState{Name: col.name, TypeOID: col.typeOID, Typmod: col.typmod}
		if cat != nil {
			cc := cat.column(col.name)
			st.Num, st.Xmin, st.Labels = cc.Num, cc.Xmin, cc.Labels
			column.Description = cc.Description
			column.Unsettable = cc.Storage != "p" && cat.Identity != "f" && !slices.Contains(key, col.name)
		} else {
			column.Unsettable = vt.mayBeStoredApart() && !slices.Contains(key, col.name)
			if i := prev.columnLike(col); i >= 0 {
				st = prev.state.Columns[i]
				column.Description, column.Unsettable = prev.table.Columns[i].Description, prev.table.Columns[i].Unsettable
			}
		}
		t.Columns = append(t.Columns, column)
		v.types = append(v.types, vt)
		v.state.Columns = append(v.state.Columns, st)
	}
	for _, k := range key {
		i := t.Column(k)
		if i < 0 {
			return nil, halt(c.Name, "restart millrace when the change of the table is done", "key column %q is not in the log", k)
		}
		if v.types[i].codec == codecArray {
			return nil, halt(c.Name, fmt.Sprintf("capture it as text: text: [%s]", k), "key column %q is an array", k)
		}
		t.Key = append(t.Key, i)
	}
	if prev != nil {
		if !t.Continues(prev.table) {
			t.Generation++
		}
		for _, col := range prev.state.Columns {
			if t.Column(col.Name) < 0 && !slices.Contains(v.state.Gone, col.Name) {
				v.state.Gone = append(v.state.Gone, col.Name)
			}
		}
	}
	t.Topic = who.topic(schema, name, t.Generation)
	return v, nil
}

// mayBeStoredApart reports whether values may be TOASTed, as far as the kind
// of their type says.
func (vt valueType) mayBeStoredApart() bool { return vt.Kind.InBytes() }

func (v *version) columnLike(col described) int {
	if v == nil {
		return -1
	}
	return slices.IndexFunc(v.state.Columns, func(c columnState) bool {
		return c.Name == col.name && c.TypeOID == col.typeOID && c.Typmod == col.typmod
	})
}

// same reports whether nothing at all differs, so that there is nothing to
// announce.
func (v *version) same(w *version) bool {
	a, errA := json.Marshal(&v.state)
	b, errB := json.Marshal(&w.state)
	return errA == nil && errB == nil && bytes.Equal(a, b) && reflect.DeepEqual(v.table, w.table)
}

// rowsMayDiffer reports whether rows may have changed between prev and v
// without an event, and why. A new nullable column without a default changes
// none, and neither does VACUUM FULL: it rewrites the table without touching
// the definition of a column, as TRUNCATE does, which has its own event. A
// leaf partition's TRUNCATE has none when its root is published.
//
// fresh says whether a leaf partition that is new has never held a row that
// the log did not carry.
func (v *version) rowsMayDiffer(prev *version, fresh func(oid uint32) bool) (string, bool) {
	a, b := &prev.state, &v.state
	switch {
	case a.Halted != "":
		return "changes were left out", true
	case a.OID != b.OID:
		return "another table has its name", true
	case a.PubRel != b.PubRel:
		return "it was not published for a while", true
	case prev.table.Generation != v.table.Generation:
		return "its key, or the form of a column, changed", true
	}
	redefined := false
	known := make(map[int16]bool, len(a.Columns))
	for i, old := range a.Columns {
		known[old.Num] = true
		j := slices.IndexFunc(b.Columns, func(c columnState) bool {
			return c.Num == old.Num && old.Num != 0 || old.Num == 0 && c.Name == old.Name
		})
		if j < 0 {
			return fmt.Sprintf("column %s was dropped", old.Name), true
		}
		now := b.Columns[j]
		known[now.Num] = true
		switch {
		case now.Name != old.Name:
			return fmt.Sprintf("column %s was renamed", old.Name), true
		case now.TypeOID != old.TypeOID, prev.table.Columns[i].Type.Kind != v.table.Columns[j].Type.Kind:
			return fmt.Sprintf("the type of column %s changed", old.Name), true
		}
		if relabelled(old.Labels, now.Labels) {
			return fmt.Sprintf("a label of column %s was renamed", old.Name), true
		}
		redefined = redefined || now.Xmin != old.Xmin
	}
	for _, now := range b.Columns {
		if !known[now.Num] {
			redefined = true
			if slices.Contains(b.Gone, now.Name) {
				return fmt.Sprintf("column %s was dropped and added", now.Name), true
			}
		}
	}
	for oid, node := range a.Leaves {
		now, ok := b.Leaves[oid]
		switch {
		case !ok:
			return "a partition is gone", true
		case now != node && (a.Partitioned || redefined):
			return "it was rewritten", true
		}
	}
	for oid, node := range b.Leaves {
		if _, ok := a.Leaves[oid]; !ok && (node != oid || !fresh(oid)) {
			return "a partition with rows was attached", true
		}
	}
	return "", false
}

// untouched reports whether, up to the reading of the catalog, no DDL can have
// changed the rows of the version's columns.
func (v *version) untouched(cat *catalogTable, oid uint32) bool {
	if cat == nil || cat.OID != oid || v.state.OID != oid || v.state.PubRel != cat.PubRel || !maps.Equal(v.state.Leaves, cat.Leaves) {
		return false
	}
	for _, c := range v.state.Columns { // by number: a column that was dropped and added has another
		i := slices.IndexFunc(cat.Columns, func(now catalogColumn) bool { return now.Num == c.Num })
		if i < 0 || cat.Columns[i].TypeOID != c.TypeOID || relabelled(c.Labels, cat.Columns[i].Labels) {
			return false
		}
	}
	return true
}

// relabelled reports whether a label of an enum is another now. New ones are
// no matter.
func relabelled(before, now map[string]string) bool {
	for oid, label := range before {
		if l, ok := now[oid]; ok && l != label {
			return true
		}
	}
	return false
}

// filled reports whether rows that were there before a column was added may
// have a value in it.
func (t *catalogTable) filled(prev *version) (string, bool) {
	for _, c := range t.Columns {
		if !slices.ContainsFunc(prev.state.Columns, func(o columnState) bool { return o.Num == c.Num || o.Num == 0 && o.Name == c.Name }) &&
			(c.Missing || c.Default || c.NotNull) {
			return fmt.Sprintf("column %s was added with a value", c.Name), true
		}
	}
	return "", false
}
