package mongodb

import (
	"encoding/json"
	"fmt"
	"slices"

	"millrace/producers"
	"millrace/schemas"
)

// tracked is one configured collection as it is at the stream's place.
type tracked struct {
	cfg            Table
	db, collection string
	table          *schemas.Table // its current version
	state          tableState
	plan           *plan
	halted         bool
	unread         bool   // that a document before a change could not be read was said
	renewed        bool   // it is read again, for a change from before the start
	uuid           string // the beginning of the collection's; empty: not known
	asked          bool   // in vain, since the name was last given up
}

// tableState is what the source wants back with a version of a table.
type tableState struct {
	Columns  []Column `json:"columns,omitempty"` // as they were declared
	Promote  bool     `json:"promote,omitempty"`
	Promoted []Column `json:"promoted,omitempty"`
}

func (t *tracked) id() string { return t.cfg.Name }

func (t *tracked) version() producers.TableVersion {
	state, _ := json.Marshal(t.state) // text and numbers: it cannot fail
	return producers.TableVersion{Table: t.table, State: state}
}

func (t *tracked) haltError(err error, hint string) *producers.HaltError {
	return &producers.HaltError{Table: t.id(), Err: err, Hint: hint}
}

// declaredAs reports whether the state is of a table that was configured so.
func (st *tableState) declaredAs(cfg Table) bool {
	return slices.Equal(st.Columns, cfg.Columns) && st.Promote == cfg.Promote
}

// take makes the state and the version of t, with the promoted columns given.
// What was declared meanwhile is no longer promoted.
func (s *source) take(t *tracked, promoted []Column) {
	t.state = tableState{Columns: t.cfg.Columns, Promote: t.cfg.Promote}
	for _, c := range promoted {
		if t.cfg.Promote && !slices.ContainsFunc(t.cfg.Columns, func(d Column) bool { return sameName(c.Name, d.Name) }) {
			t.state.Promoted = append(t.state.Promoted, c)
		}
	}
	next := &schemas.Table{Source: s.env.Source, Schema: t.db, Name: t.collection, Generation: 1, Key: []int{idOrd}}
	next.Columns = []schemas.Column{
		{Name: idColumn, Type: schemas.Type{Kind: schemas.String}},
		{Name: docColumn, Type: schemas.Type{Kind: schemas.JSON}, Unsettable: true},
	}
	if len(t.cfg.Columns) > 0 || t.cfg.Promote {
		next.Columns = append(next.Columns, schemas.Column{Name: conflictColumn, Type: schemas.Type{Kind: schemas.JSON}, Unsettable: true})
	}
	for _, c := range slices.Concat(t.state.Columns, t.state.Promoted) {
		next.Columns = append(next.Columns, schemas.Column{Name: c.Name, Type: c.Type, Unsettable: true})
	}
	if old := t.table; old != nil {
		if next.Generation = old.Generation; !next.Continues(old) {
			next.Generation++
		}
		if slices.Equal(old.Columns, next.Columns) {
			next = old
		}
	}
	if next != t.table {
		next.Topic = s.env.Topic(t.db, t.collection, next.Generation)
	}
	t.table = next
	s.compile(t)
}

// compile makes the plan of the current version, and forgets none of the older
// ones: a snapshot may still read by them.
func (s *source) compile(t *tracked) {
	var widens []string
	for _, c := range t.state.Promoted {
		if c.Type.Kind == schemas.Int {
			widens = append(widens, c.Name)
		}
	}
	t.plan = newPlan(t.table, slices.Concat(t.state.Columns, t.state.Promoted), t.state.Promote, widens)
	s.shared.Lock()
	defer s.shared.Unlock()
	s.shared.plans[t.id()] = t.plan
}

// planOf is the plan of a version, if that is the current one.
func (s *source) planOf(t *schemas.Table) *plan {
	s.shared.Lock()
	defer s.shared.Unlock()
	if p := s.shared.plans[t.ID()]; p != nil && p.table == t {
		return p
	}
	return nil
}

// promote makes columns of what was found, and announces the version. A new
// column continues the version before it: no row that has the field was sent
// without it. A wider type begins the next generation, whose snapshot reads all
// rows again.
func (s *source) promote(t *tracked, found []finding) {
	columns := slices.Clone(t.state.Promoted)
	for _, f := range found {
		i := slices.IndexFunc(columns, func(c Column) bool { return sameName(c.Name, f.name) })
		switch {
		case i < 0 && len(columns)+len(t.cfg.Columns) < MaxColumns && !t.plan.taken[lower(f.name)]:
			columns = append(columns, Column{Name: f.name, Type: f.typ})
		case i >= 0 && columns[i].Type.Kind == schemas.Int && f.typ.Kind == schemas.Float:
			columns[i].Type = f.typ
		}
	}
	before := t.table
	s.take(t, columns)
	if t.table == before {
		return
	}
	v := t.version()
	if t.table.Generation != before.Generation {
		v.Since = s.at.position(s.epoch)
	}
	s.announce(v)
}

func (s *source) announce(v producers.TableVersion) { s.out.Tables = append(s.out.Tables, v) }

// report keeps what a snapshot has found until the stream can announce it.
func (s *source) report(t *schemas.Table, found []finding) error {
	s.shared.Lock()
	s.shared.found[t.ID()] = append(s.shared.found[t.ID()], found...)
	s.shared.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return fmt.Errorf("field %q of %s becomes a column: %w", found[0].name, t.ID(), producers.ErrRewritten)
}

// reported reports whether a snapshot has found fields.
func (s *source) reported() bool {
	s.shared.Lock()
	defer s.shared.Unlock()
	return len(s.shared.found) > 0
}

// takeReports announces what snapshots have found.
func (s *source) takeReports() {
	s.shared.Lock()
	found := s.shared.found
	s.shared.found = map[string][]finding{}
	s.shared.Unlock()
	for _, cfg := range s.cfg.Tables {
		if t := s.tables[cfg.Name]; t != nil && len(found[cfg.Name]) > 0 {
			s.promote(t, found[cfg.Name])
		}
	}
}
