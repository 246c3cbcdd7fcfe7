package mysql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-mysql-org/go-mysql/replication"

	"millrace/producers"
	"millrace/schemas"
)

// tracked is one configured table as it is at the stream's place in the log.
type tracked struct {
	cfg          Table
	schema, name string
	table        *schemas.Table // its current version; nil if it never was there
	state        tableState
	layout       *layout // how the last TABLE_MAP wrote its rows
	wire         []byte  // that TABLE_MAP

	// stale says that the catalog is to be compared once the log is drained: only
	// then does the server's present speak for the stream's place. changes counts
	// the statements that touched the definition, so that an answer which was
	// asked for before one of them is thrown away.
	stale   bool
	changes int
	answer  *answer
}

// answer is what the catalog said when changes stood where it did.
type answer struct {
	changes int
	def     *definition
	err     error
}

// tableState is what the source wants back with a version of a table.
type tableState struct {
	Forms   map[string]form `json:"forms,omitempty"`
	Dropped bool            `json:"dropped,omitempty"`
	Halted  string          `json:"halted,omitempty"`
}

func (t *tracked) id() string { return t.cfg.Name }

// live reports whether changes of the table are wanted.
func (t *tracked) live() bool { return t.table != nil && t.state.Halted == "" }

func (t *tracked) version() producers.TableVersion {
	state, _ := json.Marshal(t.state) // maps of text: it cannot fail
	return producers.TableVersion{Table: t.table, State: state, Dropped: t.state.Dropped}
}

func (t *tracked) haltError(err error, hint string) *producers.HaltError {
	return &producers.HaltError{Table: t.id(), Err: err, Hint: hint}
}

// shape is the schema's side of a version.
type shape struct {
	columns     []schemas.Column
	key         []string
	description string
}

// renewed is the version of t with the given shape: the current one if nothing
// differs, else another. A version that does not continue it is a new generation.
func (s *source) renewed(t *tracked, sh shape) (*schemas.Table, error) {
	next := &schemas.Table{Source: s.env.Source, Schema: t.schema, Name: t.name, Columns: sh.columns, Generation: 1, Description: sh.description}
	for _, name := range sh.key {
		ord := next.Column(name)
		if ord < 0 {
			return nil, t.haltError(fmt.Errorf("its key column %q is gone", name), "configure the key anew")
		}
		next.Key = append(next.Key, ord)
	}
	if len(next.Key) == 0 && !t.cfg.AppendOnly {
		return nil, t.haltError(errors.New("it has no primary key"), fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…)", quoteTable(t.schema, t.name)))
	}
	if old := t.table; old != nil {
		if next.Generation = old.Generation; !next.Continues(old) {
			next.Generation++
		}
		if slices.Equal(old.Columns, next.Columns) && slices.Equal(old.Key, next.Key) && old.Description == next.Description {
			return old, nil
		}
	}
	next.Topic = s.env.Topic(t.schema, t.name, next.Generation)
	return next, nil
}

// shape is what a definition means for the schema.
func (s *source) shape(d *definition, cfg Table) (shape, error) {
	if len(d.cascades) > 0 && !cfg.IgnoreCascades && !s.server.cascades {
		return shape{}, d.cascadeError()
	}
	key, err := d.keyOf(cfg)
	sh := shape{key: key, description: d.comment}
	for _, col := range d.columns {
		sh.columns = append(sh.columns, schemas.Column{Name: col.name, Type: col.typ, Description: col.comment})
	}
	return sh, err
}

// shape is what a TABLE_MAP means for the schema. It knows no comments: those
// of the current version stay.
func (l *layout) shape(t *tracked) shape {
	sh := shape{key: t.cfg.Key}
	for i := range l.columns {
		col := &l.columns[i]
		if col.hidden {
			continue
		}
		out := schemas.Column{Name: col.name, Type: col.typ}
		if t.table != nil {
			if ord := t.table.Column(col.name); ord >= 0 {
				out.Description = t.table.Columns[ord].Description
			}
		}
		sh.columns = append(sh.columns, out)
	}
	if t.table != nil {
		sh.description = t.table.Description
	}
	if len(sh.key) == 0 {
		for _, ord := range l.key {
			sh.key = append(sh.key, sh.columns[ord].Name)
		}
	}
	return sh
}

// announce puts a version into the batch. Of several versions of one table
// without a change between them the last counts, and the greatest since.
func (s *source) announce(v producers.TableVersion) {
	for i, earlier := range s.out.Tables {
		if earlier.Table.ID() == v.Table.ID() {
			v.Since = schemas.MaxPosition(v.Since, earlier.Since)
			s.out.Tables[i] = v
			return
		}
	}
	s.out.Tables = append(s.out.Tables, v)
}

// haltTable gives a table up until a person has acted. Its state remembers it:
// when the source is opened again the table is taken up with a new snapshot,
// because its changes from here on are not captured.
func (s *source) haltTable(t *tracked, err error) {
	var h *producers.HaltError
	if !errors.As(err, &h) {
		h = t.haltError(err, "cure it, then restart millrace: the table is then snapshotted again")
	}
	t.state.Halted, t.layout, t.wire, t.stale = h.Err.Error(), nil, nil, false
	s.env.Halt(h)
	if t.table != nil {
		s.announce(t.version())
	}
}

// apply carries out what a statement at place at does to a captured table.
func (s *source) apply(ctx context.Context, t *tracked, e effect, at place) error {
	since := at.position(s.epoch, 1)
	if e == effectCreate || e == effectEnsure || e == effectRewrite || e == effectExtend {
		t.layout, t.wire, t.stale = nil, nil, true
		t.changes++
	}
	switch e {
	case effectDrop:
		t.state.Dropped, t.layout, t.wire, t.stale = true, nil, nil, false
		t.changes++
		s.announce(t.version())
	case effectTruncate:
		s.out.Changes = append(s.out.Changes, schemas.Change{
			Table: t.table, Op: schemas.Truncate, Position: since, TsUs: s.group.tsUs,
			Token: schemas.Token(at.String()), TxID: s.group.id,
		})
	case effectChange:
		s.haltTable(t, t.haltError(fmt.Errorf("a statement changed it at %s, and the binlog holds only the statement", at),
			"a session or the server writes with binlog_format STATEMENT or MIXED: set it to ROW, then restart millrace: the table is then snapshotted again"))
	case effectEnsure:
		if t.state.Dropped {
			return s.apply(ctx, t, effectCreate, at)
		}
	case effectCreate, effectRewrite:
		t.state.Dropped = false
		if err := s.anticipate(ctx, t); err != nil {
			return err
		}
		v := t.version()
		v.Since = since
		s.announce(v)
	}
	return nil
}

// anticipate takes up what the catalog says now, before the log says it. Most
// often the log is hardly behind, and then it is right; if not, the next
// TABLE_MAP or the drained log corrects it. A changed key waits for them, because
// it makes a new topic.
func (s *source) anticipate(ctx context.Context, t *tracked) error {
	def, err := s.catalog.define(ctx, s.db, t.schema, t.name)
	var h *producers.HaltError
	if errors.Is(err, errNoTable) || errors.As(err, &h) {
		return nil
	}
	if err != nil {
		return err
	}
	sh, err := s.shape(def, t.cfg)
	if err != nil {
		return nil //nolint:nilerr // if it is still so when the log is drained, settle halts the table
	}
	if next, err := s.renewed(t, sh); err == nil && next.Generation == t.table.Generation {
		t.table, t.state.Forms = next, def.forms()
	}
	return nil
}

// tableMap takes up how the following rows of t are written. It reports hold,
// and does nothing, if that makes a new version while changes of the old one
// are in the batch.
func (s *source) tableMap(ctx context.Context, t *tracked, e *replication.TableMapEvent, wire []byte) (hold bool, err error) {
	if t.layout != nil && slices.Equal(t.wire, wire) {
		return false, nil
	}
	forms := t.state.Forms
	if t.stale || slices.ContainsFunc(e.ColumnNameString(), func(name string) bool { return t.table.Column(name) < 0 }) {
		if forms, err = s.currentForms(ctx, t); err != nil {
			return false, err
		}
	}
	l, err := s.catalog.layoutOf(e, forms)
	if err != nil {
		if errors.Is(err, errNoMetadata) {
			err = t.haltError(err, "SET GLOBAL binlog_row_metadata = 'FULL', let open sessions reconnect, then restart millrace: the table is then snapshotted again")
		}
		s.haltTable(t, err)
		return false, nil
	}
	next, err := s.renewed(t, l.shape(t))
	if err != nil {
		s.haltTable(t, err)
		return false, nil
	}
	if next != t.table && len(s.out.Changes) > 0 {
		return true, nil
	}
	t.layout, t.wire = l, slices.Clone(wire)
	if next != t.table {
		t.table, t.state.Forms, t.state.Dropped = next, forms, false
		s.announce(t.version())
	}
	return false, nil
}

// currentForms asks the catalog for what the binlog does not say about columns.
// It speaks of now: a column that is no longer what it was in the log is then
// read as the binlog writes it.
func (s *source) currentForms(ctx context.Context, t *tracked) (map[string]form, error) {
	def, err := s.catalog.define(ctx, s.db, t.schema, t.name)
	var h *producers.HaltError
	switch {
	case err == nil:
		return def.forms(), nil
	case errors.Is(err, errNoTable) || errors.As(err, &h):
		return t.state.Forms, nil
	}
	return nil, err
}

// ask reads the definitions of the tables that are stale.
func (s *source) ask(ctx context.Context) error {
	for _, t := range s.tables {
		if !t.stale || !t.live() {
			continue
		}
		def, err := s.catalog.define(ctx, s.db, t.schema, t.name)
		var h *producers.HaltError
		if err != nil && !errors.Is(err, errNoTable) && !errors.As(err, &h) {
			return err
		}
		t.answer = &answer{changes: t.changes, def: def, err: err}
	}
	return nil
}

// settle compares the answers with the versions. The log was drained to a
// place that the server reached after it answered.
func (s *source) settle() {
	for _, t := range s.tables {
		a := t.answer
		t.answer = nil
		if a == nil || a.changes != t.changes || !t.live() || errors.Is(a.err, errNoTable) {
			continue
		}
		t.stale = false
		sh, err := shape{}, a.err
		if err == nil {
			sh, err = s.shape(a.def, t.cfg)
		}
		var next *schemas.Table
		if err == nil {
			next, err = s.renewed(t, sh)
		}
		if err != nil {
			s.haltTable(t, err)
			continue
		}
		if next != t.table {
			t.table, t.state.Forms = next, a.def.forms()
			t.layout, t.wire = nil, nil
			s.announce(t.version())
		}
	}
}
