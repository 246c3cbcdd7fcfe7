package avro

import (
	"fmt"
	"sync"
	"time"

	twmb "github.com/twmb/avro"

	"millrace/schemas"
)

// LoadCompleteSchema is the schema of the events that announce loads. It is a
// public contract: it changes only so that every older event stays readable,
// and older readers read the new ones.
const LoadCompleteSchema = `{"type":"record","name":"LoadComplete","namespace":"millrace","doc":"One committed load of a core or derived table. Load 0 announces progress alone.","fields":[` +
	`{"name":"table","type":"string"},` +
	`{"name":"load","type":"long","doc":"From 1 without gaps, per table."},` +
	`{"name":"epoch","type":"long"},` +
	`{"name":"mode","type":"string","doc":"merge, append, replace or upsert"},` +
	`{"name":"ranges","type":{"type":"array","items":{"type":"record","name":"Range","fields":[{"name":"topic","type":"string"},{"name":"partition","type":"int"},{"name":"from","type":"long"},{"name":"to","type":"long"}]}},"default":[],"doc":"The offsets that were loaded, half-open."},` +
	`{"name":"pos_min","type":["null","string"],"default":null},` +
	`{"name":"pos_max","type":["null","string"],"default":null},` +
	`{"name":"complete_through","type":{"type":"record","name":"Progress","fields":[{"name":"pos","type":["null","string"],"default":null},{"name":"time","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null}]},"doc":"Every change up to it is in the table."},` +
	`{"name":"rows","type":{"type":"record","name":"RowCounts","fields":[{"name":"read","type":"long"},{"name":"applied","type":"long"},{"name":"folded","type":"long"},{"name":"inserted","type":"long"},{"name":"updated","type":"long"},{"name":"deleted","type":"long"},{"name":"stale","type":"long"},{"name":"quarantined","type":"long"}]},"doc":"read = applied + folded + stale + quarantined"},` +
	`{"name":"touched","type":{"type":"array","items":{"type":"record","name":"Touched","fields":[{"name":"column","type":"string"},{"name":"ranges","type":{"type":"array","items":{"type":"record","name":"Span","fields":[{"name":"start","type":"string"},{"name":"end","type":"string"}]}},"default":[]},{"name":"null","type":"boolean","default":false}]}},"default":[],"doc":"The exact partitions that the load changed, half-open."},` +
	`{"name":"all","type":"boolean","default":false,"doc":"Everything was touched."},` +
	`{"name":"covers","type":{"type":"record","name":"Covers","fields":[{"name":"event_times","type":{"type":"array","items":"string"},"default":[]},{"name":"changes","type":{"type":"array","items":"string"},"default":[]}]},"doc":"The columns that this load can speak for."},` +
	`{"name":"schema_version","type":"long"},` +
	`{"name":"snapshot","type":{"type":"record","name":"Snapshot","fields":[{"name":"running","type":"boolean"},{"name":"done","type":"boolean"}]}},` +
	`{"name":"job_ids","type":{"type":"array","items":"string"},"default":[]},` +
	`{"name":"started_at","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null},` +
	`{"name":"committed_at","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null},` +
	`{"name":"cause","type":{"type":"array","items":{"type":"record","name":"Cause","fields":[{"name":"table","type":"string"},{"name":"load","type":"long"}]}},"default":[],"doc":"The loads that led to a run of a derived table."},` +
	`{"name":"traceparent","type":["null","string"],"default":null}` +
	`]}`

// loadComplete is schemas.LoadComplete as the schema has it: pointers for what
// is null when it is zero, records for pairs.
type loadComplete struct {
	Table           string        `avro:"table"`
	Load            int64         `avro:"load"`
	Epoch           int64         `avro:"epoch"`
	Mode            string        `avro:"mode"`
	Ranges          []loadRange   `avro:"ranges"`
	PosMin          *string       `avro:"pos_min"`
	PosMax          *string       `avro:"pos_max"`
	CompleteThrough loadProgress  `avro:"complete_through"`
	Rows            loadRows      `avro:"rows"`
	Touched         []loadTouched `avro:"touched"`
	All             bool          `avro:"all"`
	Covers          loadCovers    `avro:"covers"`
	SchemaVersion   int           `avro:"schema_version"`
	Snapshot        loadSnapshot  `avro:"snapshot"`
	JobIDs          []string      `avro:"job_ids"`
	StartedAt       *time.Time    `avro:"started_at"`
	CommittedAt     *time.Time    `avro:"committed_at"`
	Cause           []loadCause   `avro:"cause"`
	TraceParent     *string       `avro:"traceparent"`
}

type (
	loadRange struct {
		Topic     string `avro:"topic"`
		Partition int32  `avro:"partition"`
		From      int64  `avro:"from"`
		To        int64  `avro:"to"`
	}
	loadProgress struct {
		Pos  *string    `avro:"pos"`
		Time *time.Time `avro:"time"`
	}
	loadRows struct {
		Read        int64 `avro:"read"`
		Applied     int64 `avro:"applied"`
		Folded      int64 `avro:"folded"`
		Inserted    int64 `avro:"inserted"`
		Updated     int64 `avro:"updated"`
		Deleted     int64 `avro:"deleted"`
		Stale       int64 `avro:"stale"`
		Quarantined int64 `avro:"quarantined"`
	}
	loadTouched struct {
		Column string     `avro:"column"`
		Ranges []loadSpan `avro:"ranges"`
		Null   bool       `avro:"null"`
	}
	loadSpan struct {
		Start string `avro:"start"`
		End   string `avro:"end"`
	}
	loadCovers struct {
		EventTimes []string `avro:"event_times"`
		Changes    []string `avro:"changes"`
	}
	loadSnapshot struct {
		Running bool `avro:"running"`
		Done    bool `avro:"done"`
	}
	loadCause struct {
		Table string `avro:"table"`
		Load  int64  `avro:"load"`
	}
)

// loadSchema is LoadCompleteSchema, parsed once and never changed.
var loadSchema = sync.OnceValue(func() *twmb.Schema { return twmb.MustParse(LoadCompleteSchema) })

// AppendLoadComplete appends the event, without a wire header. Times keep their
// microseconds; what is finer is cut off.
func AppendLoadComplete(dst []byte, l *schemas.LoadComplete) ([]byte, error) {
	w := loadComplete{
		Table: l.Table, Load: l.Load, Epoch: l.Epoch, Mode: string(l.Mode), PosMin: posText(l.PosMin), PosMax: posText(l.PosMax),
		CompleteThrough: loadProgress{Pos: posText(l.CompleteThrough.Pos), Time: timeOrNil(l.CompleteThrough.Time)},
		Rows:            loadRows(l.Rows), All: l.All, Covers: loadCovers(l.Covers),
		SchemaVersion: l.SchemaVersion, Snapshot: loadSnapshot(l.Snapshot), JobIDs: l.JobIDs,
		StartedAt: timeOrNil(l.StartedAt), CommittedAt: timeOrNil(l.CommittedAt),
	}
	if l.TraceParent != "" {
		w.TraceParent = &l.TraceParent
	}
	for _, r := range l.Ranges {
		w.Ranges = append(w.Ranges, loadRange(r))
	}
	for _, c := range l.Cause {
		w.Cause = append(w.Cause, loadCause(c))
	}
	for _, t := range l.Touched {
		out := loadTouched{Column: t.Column, Null: t.Null}
		for _, r := range t.Ranges {
			out.Ranges = append(out.Ranges, loadSpan{r[0], r[1]})
		}
		w.Touched = append(w.Touched, out)
	}
	out, err := loadSchema().AppendEncode(dst, &w)
	if err != nil {
		return dst, fmt.Errorf("encode load %d of %s: %w", l.Load, l.Table, err)
	}
	return out, nil
}

// DecodeLoadComplete reads an event, without its wire header, that was written
// with this version's LoadCompleteSchema.
func DecodeLoadComplete(body []byte) (schemas.LoadComplete, error) {
	return decodeLoad(loadSchema(), body)
}

// LoadDecoder reads load-complete events of another version's writer.
type LoadDecoder struct{ schema *twmb.Schema }

// NewLoadDecoder resolves the schema that the writer used to this version's.
func NewLoadDecoder(writer string) (*LoadDecoder, error) {
	w, err := twmb.Parse(writer)
	if err != nil {
		return nil, fmt.Errorf("parse load-complete schema: %w", err)
	}
	s, err := twmb.Resolve(w, loadSchema())
	if err != nil {
		return nil, fmt.Errorf("resolve load-complete schema: %w", err)
	}
	return &LoadDecoder{s}, nil
}

// Decode reads an event, without its wire header.
func (d *LoadDecoder) Decode(body []byte) (schemas.LoadComplete, error) {
	return decodeLoad(d.schema, body)
}

func decodeLoad(s *twmb.Schema, body []byte) (l schemas.LoadComplete, err error) {
	var w loadComplete
	rest, err := s.Decode(body, &w)
	if err != nil {
		return l, fmt.Errorf("decode load-complete event: %w", err)
	}
	if len(rest) != 0 {
		return l, fmt.Errorf("decode load-complete event: %w", errTrailing)
	}
	l = schemas.LoadComplete{
		Table: w.Table, Load: w.Load, Epoch: w.Epoch, Mode: schemas.Mode(w.Mode),
		CompleteThrough: schemas.Progress{Time: timeOrZero(w.CompleteThrough.Time)},
		Rows:            schemas.RowCounts(w.Rows), All: w.All, SchemaVersion: w.SchemaVersion,
		Snapshot: schemas.SnapshotState(w.Snapshot), JobIDs: orNil(w.JobIDs),
		Covers:    schemas.Covers{EventTimes: orNil(w.Covers.EventTimes), Changes: orNil(w.Covers.Changes)},
		StartedAt: timeOrZero(w.StartedAt), CommittedAt: timeOrZero(w.CommittedAt),
	}
	if w.TraceParent != nil {
		l.TraceParent = *w.TraceParent
	}
	if l.PosMin, err = posOrZero(w.PosMin); err != nil {
		return schemas.LoadComplete{}, fmt.Errorf("decode load-complete event: pos_min: %w", err)
	}
	if l.PosMax, err = posOrZero(w.PosMax); err != nil {
		return schemas.LoadComplete{}, fmt.Errorf("decode load-complete event: pos_max: %w", err)
	}
	if l.CompleteThrough.Pos, err = posOrZero(w.CompleteThrough.Pos); err != nil {
		return schemas.LoadComplete{}, fmt.Errorf("decode load-complete event: complete_through: %w", err)
	}
	for _, r := range w.Ranges {
		l.Ranges = append(l.Ranges, schemas.Range(r))
	}
	for _, c := range w.Cause {
		l.Cause = append(l.Cause, schemas.Cause(c))
	}
	for _, t := range w.Touched {
		out := schemas.Touched{Column: t.Column, Null: t.Null}
		for _, s := range t.Ranges {
			out.Ranges = append(out.Ranges, [2]string{s.Start, s.End})
		}
		l.Touched = append(l.Touched, out)
	}
	return l, nil
}

func posText(p schemas.Position) *string {
	if p.IsZero() {
		return nil
	}
	text := p.String()
	return &text
}

func posOrZero(text *string) (schemas.Position, error) {
	if text == nil {
		return schemas.Position{}, nil
	}
	return schemas.ParsePosition([]byte(*text))
}

// timeOrNil cuts to the microsecond downwards: what a table is complete through
// is never made later.
func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = time.UnixMicro(t.UnixMicro()).UTC()
	return &t
}

func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func orNil(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
}
