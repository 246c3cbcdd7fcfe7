package consumers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"millrace/internal/register"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// memory is a warehouse in memory: rows joined by the reference algebra, one
// lock for a transaction, and faults on order.
type memory struct {
	mu     sync.Mutex
	tables map[string]*memoryTable
	// fault is asked at each effect: "before load", "after load", "acquire".
	// What it returns is the error of the call; after a load the commit stays.
	fault func(effect, table string, load int64) error
}

type memoryTable struct {
	core    warehouse.CoreTable
	head    warehouse.Head
	rows    map[string]register.Row
	history map[string]schemas.Row
	log     []schemas.LoadComplete
}

func newMemory() *memory {
	return &memory{tables: map[string]*memoryTable{}, fault: func(string, string, int64) error { return nil }}
}

func (m *memory) table(name string) *memoryTable {
	t := m.tables[name]
	if t == nil {
		t = &memoryTable{rows: map[string]register.Row{}, history: map[string]schemas.Row{}}
		t.head.Offsets, t.head.Marks = map[int32]int64{}, map[int32]warehouse.Mark{}
		m.tables[name] = t
	}
	return t
}

func (m *memory) Ensure(_ context.Context, t warehouse.CoreTable) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.Mode == schemas.ModeMerge && len(t.Key) == 0 {
		return fmt.Errorf("ensure %s: a table without a key cannot be merged", t.Name)
	}
	if have := m.table(t.Name); have.core.Name != "" && (have.core.Mode != t.Mode || !slices.Equal(have.core.Key, t.Key)) {
		return fmt.Errorf("ensure %s: its key is %q and cannot become %q", t.Name, have.core.Key, t.Key)
	}
	m.table(t.Name).core = t
	return nil
}

func (m *memory) Acquire(_ context.Context, table, topic, topicID string) (warehouse.Head, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table(table).core.Name == "" {
		return warehouse.Head{}, warehouse.ErrNoTable
	}
	t := m.table(table)
	if err := m.fault("acquire", table, t.head.Load); err != nil {
		return warehouse.Head{}, err
	}
	t.head.Epoch++
	if t.head.Topic == "" {
		t.head.Topic, t.head.TopicID = topic, topicID
	}
	h := t.head
	h.Offsets, h.Marks = maps.Clone(h.Offsets), maps.Clone(h.Marks)
	return h, nil
}

func (m *memory) Rewind(_ context.Context, table string, epoch int64, offsets map[int32]int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.table(table)
	if t.head.Epoch != epoch {
		return warehouse.ErrFenced
	}
	maps.Copy(t.head.Offsets, offsets)
	return nil
}

type cells schemas.Row

func (c cells) Null(col int)             { c[col] = schemas.NullCell() }
func (c cells) Int(col int, v int64)     { c[col] = schemas.IntCell(v) }
func (c cells) Float(col int, v float64) { c[col] = schemas.FloatCell(v) }
func (c cells) Bytes(col int, b []byte)  { c[col] = schemas.BytesCell(slices.Clone(b)) }

func (m *memory) Load(_ context.Context, b *warehouse.Batch) (schemas.LoadComplete, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.table(b.Table.Name)
	var none schemas.LoadComplete
	if t.head.Epoch != b.Epoch || t.head.Load != b.Load-1 {
		return none, warehouse.ErrFenced
	}
	if err := m.fault("before load", b.Table.Name, b.Load); err != nil {
		return none, err
	}
	for _, r := range b.Ranges {
		if r.From < t.head.Offsets[r.Partition] {
			return none, fmt.Errorf("range %+v lies below offset %d of the head", r, t.head.Offsets[r.Partition])
		}
	}
	event := schemas.LoadComplete{
		Table: b.Table.Name, Load: b.Load, Epoch: b.Epoch, Mode: b.Table.Mode, Ranges: b.Ranges,
		Rows: b.Counts, CommittedAt: time.Now().UTC(), StartedAt: b.StartedAt,
	}
	if !b.Truncate.IsZero() {
		maps.DeleteFunc(t.rows, func(_ string, r register.Row) bool { return r.Pos.Less(b.Truncate) })
		t.head.Horizon = schemas.MaxPosition(t.head.Horizon, b.Truncate)
	}
	if err := t.take(b, &event); err != nil {
		return none, err
	}
	if n := event.Rows; n.Read != n.Applied+n.Folded+n.Stale+n.Quarantined {
		return none, fmt.Errorf("counts %+v do not add up", n)
	}
	t.head.Load = b.Load
	for _, r := range b.Ranges {
		t.head.Offsets[r.Partition] = r.To
	}
	t.head.Marks = mergeMarks(t.head.Marks, b.Marks)
	if !b.Blocked {
		t.head.Complete = complete(t.head.Marks, b.Partitions)
	}
	done := true
	for p := range b.Partitions {
		done = done && !t.head.Marks[p].SnapshotDone.IsZero()
	}
	t.head.Snapshot.Done = t.head.Snapshot.Done || done
	event.CompleteThrough, event.Snapshot = t.head.Complete, t.head.Snapshot
	t.log = append(t.log, event)
	return event, m.fault("after load", b.Table.Name, b.Load)
}

func (t *memoryTable) take(b *warehouse.Batch, event *schemas.LoadComplete) error {
	staged := map[string]bool{}
	for {
		row := make(cells, len(b.Table.Columns))
		f, err := b.Rows.Next(row)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		key := ""
		for _, name := range b.Table.Key {
			at := slices.IndexFunc(b.Table.Columns, func(c schemas.Column) bool { return c.Name == name })
			key += fmt.Sprintf("%d %x|", row[at].Int, row[at].Bytes)
		}
		wrote := false
		if b.Table.Mode == schemas.ModeAppend {
			key += f.Pos.String()
			if _, there := t.history[key]; !there {
				t.history[key], wrote = schemas.Row(row), true
			}
		} else {
			c := register.Change{Op: f.Op, Pos: f.Pos, Born: f.Born, V: schemas.Row(row), At: f.At}
			if f.At == nil {
				c.At = make([]schemas.Position, len(row))
				for i := range c.At {
					if f.Op != schemas.Delete {
						c.At[i] = f.Pos
					}
				}
			}
			old, found := t.rows[key]
			old.V = append(slices.Clone(old.V), make(schemas.Row, len(row)-len(old.V))...)
			var next register.Row
			if next, wrote = register.Apply(old, found, t.head.Horizon, c); wrote {
				t.rows[key] = next
			}
		}
		if staged[key] {
			return fmt.Errorf("key %s is staged twice", key)
		}
		staged[key] = true
		if wrote {
			event.Rows.Applied++
		} else {
			event.Rows.Stale++
		}
	}
}

func (m *memory) Succeed(_ context.Context, s *warehouse.Succession) (schemas.LoadComplete, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.table(s.Table.Name)
	if t.head.Epoch != s.Epoch || t.head.Load != s.Load-1 || s.From != "" && m.table(s.From).head.Epoch != s.FromEpoch {
		return schemas.LoadComplete{}, warehouse.ErrFenced
	}
	if err := m.fault("before step", s.Table.Name, s.Load); err != nil {
		return schemas.LoadComplete{}, err
	}
	if s.From == "" {
		t.head.Topic, t.head.TopicID, t.head.Offsets, t.head.Marks = s.Topic, s.TopicID, map[int32]int64{}, map[int32]warehouse.Mark{}
		t.core = s.Table
	} else {
		from := m.table(s.From)
		from.log, from.core.Name, from.head.Epoch = t.log, s.Table.Name, s.Epoch
		*t = *from
		delete(m.tables, s.From)
	}
	t.head.Load = s.Load
	event := schemas.LoadComplete{Table: s.Table.Name, Load: s.Load, Epoch: s.Epoch, Mode: t.core.Mode, All: true, CompleteThrough: t.head.Complete, Snapshot: t.head.Snapshot}
	t.log = append(t.log, event)
	return event, m.fault("after step", s.Table.Name, s.Load)
}

func (m *memory) Loads(_ context.Context, table string, after int64, most int) ([]schemas.LoadComplete, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []schemas.LoadComplete
	for _, e := range m.table(table).log {
		if e.Load > after && len(out) < most {
			out = append(out, e)
		}
	}
	return out, nil
}

func (*memory) SetNeeds(context.Context, string, string, warehouse.Kept) error { return nil }

// live are the rows that readers see, as text, by key.
func (m *memory) live(table string) map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]string{}
	for key, row := range m.table(table).rows {
		if row.Deleted {
			continue
		}
		text := ""
		for _, c := range row.V {
			text += fmt.Sprintf("%d:%d %s|", c.Kind, c.Int, c.Bytes)
		}
		out[key] = text
	}
	return out
}

func (m *memory) head(table string) warehouse.Head {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.table(table).head
	h.Offsets = maps.Clone(h.Offsets)
	return h
}
