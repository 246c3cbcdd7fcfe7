package bigquery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"millrace/internal/fault"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// owner is a table that this process has acquired, without a service that holds
// it.
func owner(t *testing.T, w *Warehouse) (*table, *warehouse.Batch) {
	t.Helper()
	core, want := fixture(schemas.ModeMerge)
	tab, err := w.entry(want.Name)
	if err != nil {
		t.Fatal(err)
	}
	tab.def = coretable.Definition{Mode: core.Mode, Columns: core.Columns}
	tab.head = &coretable.Head{Head: warehouse.Head{Epoch: 3, Load: 6, Offsets: map[int32]int64{0: 10}}}
	return tab, &warehouse.Batch{
		Table: want, Epoch: 3, Load: 7, Partitions: 1, Ranges: []schemas.Range{{Topic: "t", From: 10, To: 13}},
		Rows: many(3), Counts: schemas.RowCounts{Read: 3}, StartedAt: time.Now(),
	}
}

// many hands out n rows of one key each.
func many(n int) *listed {
	l := &listed{}
	for i := range n {
		l.folds = append(l.folds, warehouse.Folded{Op: schemas.Create, Pos: at(uint64(i) + 1)}) //nolint:gosec // small
		l.write = append(l.write, func(s warehouse.Sink) { s.Int(0, int64(i)+1); s.Bytes(1, []byte(strings.Repeat("x", 50))) })
	}
	return l
}

// event is what the script of a load would give.
func event(load int64) []string {
	return []string{fmt.Sprintf(`{"rows":{"read":3,"folded":0,"quarantined":0,"applied":2,"inserted":2,"updated":0,"deleted":0,"stale":1},
"snapshot":{"done":false,"running":true},"buckets":[[3,null,1,2]],"kinds":["DATE"],"table":"core.all","load":%d,"epoch":3,"mode":"merge",
"covers":{"event_times":["day"]},"started_at":"2026-01-01T00:00:00Z","committed_at":"2026-01-01T00:00:01Z"}`, load), `[["spec","change","note"]]`}
}

func TestLoad(t *testing.T) {
	s, w := newService(t)
	tab, b := owner(t, w)
	b.Snapshotting = true
	s.made = func(n int, _ string) fakeJob { return fakeJob{result: event(6 + int64(n))} }
	s.tables["millrace.core__all__changes"] = []string{"_load INTEGER", "note STRING"}
	done, err := w.Load(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	want := schemas.RowCounts{Read: 3, Applied: 2, Inserted: 2, Stale: 1}
	if done.Load != 7 || done.Rows != want || !done.Snapshot.Running || len(done.Touched) != 1 || !done.Touched[0].Null ||
		fmt.Sprint(done.Touched[0].Ranges) != "[[1970-01-02 1970-01-05]]" {
		t.Errorf("event %+v", done)
	}
	if tab.head == nil || tab.head.Load != 7 || tab.head.Offsets[0] != 13 || !tab.head.Snapshot.Running {
		t.Errorf("head %+v", tab.head)
	}
	if got := s.called(); got != "insert 1, results, get" { // one job, and nothing polls
		t.Errorf("calls: %s", got)
	}
	var text string
	for _, j := range s.jobs {
		text = j.text
	}
	for _, part := range []string{
		"WHERE epoch = 3 AND load = 7 - 1", "FROM millrace_stage) = 3", "t.`id` BETWEEN 1 AND 3", `PARSE_JSON('{"0":13}')`, "IF n_read > 0 THEN",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the script has no %s:\n%s", part, text)
		}
	}
	// The spec's need is taken up by the next load; the stream stays.
	if len(tab.def.Needs) != 1 || tab.def.Needs[0] != (coretable.Need{Spec: "spec", Kind: "change", Column: "note"}) {
		t.Errorf("needs %+v", tab.def.Needs)
	}
	b.Load, b.Rows, b.Ranges[0] = 8, many(3), schemas.Range{Topic: "t", From: 13, To: 16}
	if _, err := w.Load(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if s.streams != 1 || len(tab.def.Images) != 2 {
		t.Errorf("%d streams, images %v", s.streams, tab.def.Images)
	}
}

func TestOldOwnerIsFenced(t *testing.T) {
	s, w := newService(t)
	tab, b := owner(t, w)
	s.made = func(int, string) fakeJob { return fakeJob{reason: "invalidQuery", message: sqlgen.ReasonFenced} }
	if _, err := w.Load(t.Context(), b); !errors.Is(err, warehouse.ErrFenced) || tab.head != nil || len(s.jobs) != 1 {
		t.Errorf("%v, head %v, %d jobs", err, tab.head, len(s.jobs))
	}
	tab.head = &coretable.Head{Head: warehouse.Head{Epoch: 3, Load: 7}}
	if _, err := w.Load(t.Context(), b); !errors.Is(err, warehouse.ErrFenced) || len(s.jobs) != 1 {
		t.Errorf("a load that was made: %v, %d jobs", err, len(s.jobs))
	}
}

// Whatever the outcome of the job was, a head that is not known is read again.
func TestUnknownOutcomeForgetsTheHead(t *testing.T) {
	s, w := newService(t)
	tab, b := owner(t, w)
	s.made = func(int, string) fakeJob { return fakeJob{running: true} }
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if _, err := w.Load(ctx, b); err == nil || tab.head != nil {
		t.Errorf("%v, head %v", err, tab.head)
	}
}

func TestNothingIsMadeBeforeTheStageIsWhole(t *testing.T) {
	s, w := newService(t)
	_, b := owner(t, w)
	b.Counts.Read = 4
	if _, err := w.Load(t.Context(), b); err == nil || !strings.Contains(err.Error(), "3 staged") || len(s.jobs) != 0 {
		t.Errorf("%v, %d jobs", err, len(s.jobs))
	}
	plan := &fault.Plan{}
	w.opts.Fault = plan.Hook
	plan.Fail(PointLoadStaged, 1)
	b.Counts.Read = 3
	if _, err := w.Load(t.Context(), b); !errors.Is(err, fault.ErrInjected) || len(s.jobs) != 0 {
		t.Errorf("%v, %d jobs", err, len(s.jobs))
	}
}

func TestRequestsStayBelowTheLimit(t *testing.T) {
	s, w := newService(t)
	tab, b := owner(t, w)
	w.opts.RequestBytes = 1000
	b.Rows = many(100)
	core, _, err := tab.def.Core(w.dialect, tab.name, b.Table)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.stage(t.Context(), tab, core, b)
	if err != nil || got.rows != 100 {
		t.Fatalf("%+v %v", got, err)
	}
	for _, size := range s.requests {
		if size > 1000 || size == 0 {
			t.Errorf("a request of %d bytes", size)
		}
	}
	_, desc, err := newEncoder(core, b.Table, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, rows := range s.rows {
		for i, row := range rows {
			if m := decoded(t, desc, row); m["v0"] != fmt.Sprint(i+1) || m["_batch"] != got.batch {
				t.Fatalf("row %d is %v", i, m)
			}
		}
		if len(rows) != 100 {
			t.Errorf("%d rows", len(rows))
		}
	}
	b.Rows = &listed{folds: make([]warehouse.Folded, 1), write: []func(warehouse.Sink){func(s warehouse.Sink) { s.Int(0, 1); s.Bytes(1, make([]byte, 1000)) }}}
	_, err = w.stage(t.Context(), tab, core, b)
	var refused *warehouse.RowsError
	if !errors.As(err, &refused) || len(refused.Rows) != 1 || refused.Rows[0].Column != "note" || !strings.Contains(refused.Rows[0].Reason, "a request takes 1000") {
		t.Errorf("a row larger than a request: %v", err)
	}
}

// When the stream fails, the whole batch is staged anew under another name, in
// another stream: what is left of the first is never read.
func TestStreamFailsInTheMiddle(t *testing.T) {
	storage := func(code codes.Code, reason storagepb.StorageError_StorageErrorCode) error {
		st, err := status.New(code, "no").WithDetails(&storagepb.StorageError{Code: reason})
		if err != nil {
			t.Fatal(err)
		}
		return st.Err()
	}
	for name, c := range map[string]struct {
		fail error
		ok   bool
	}{
		"stream gone":       {storage(codes.NotFound, storagepb.StorageError_STREAM_NOT_FOUND), true},
		"stream finalized":  {storage(codes.InvalidArgument, storagepb.StorageError_STREAM_FINALIZED), true},
		"offset is there":   {storage(codes.AlreadyExists, storagepb.StorageError_OFFSET_ALREADY_EXISTS), true},
		"table not seen":    {storage(codes.NotFound, storagepb.StorageError_TABLE_NOT_FOUND), true},
		"column not seen":   {storage(codes.InvalidArgument, storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS), true},
		"unavailable":       {status.Error(codes.Unavailable, "no"), true},
		"quota":             {status.Error(codes.ResourceExhausted, "no"), true},
		"permission denied": {status.Error(codes.PermissionDenied, "no"), false},
		"bad row":           {status.Error(codes.InvalidArgument, "no"), false},
	} {
		t.Run(name, func(t *testing.T) {
			s, w := newService(t)
			tab, b := owner(t, w)
			w.opts.RequestBytes = 300
			b.Rows = many(10)
			s.appended = func(n int) error {
				if n == 2 {
					return c.fail
				}
				return nil
			}
			core, _, err := tab.def.Core(w.dialect, tab.name, b.Table)
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.stage(t.Context(), tab, core, b)
			if (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
			if !c.ok {
				return
			}
			_, desc, err := newEncoder(core, b.Table, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]int{}
			for _, rows := range s.rows {
				for _, row := range rows {
					seen[decoded(t, desc, row)["_batch"]]++
				}
			}
			if seen[got.batch] != 10 || s.streams != 2 || len(seen) != 2 {
				t.Errorf("rows by batch %v of %d streams, the batch is %s", seen, s.streams, got.batch)
			}
		})
	}
}

func TestEventIsWhatTheScriptPutsTogether(t *testing.T) {
	_, w := newService(t)
	_, b := owner(t, w)
	core, kept, err := coretable.Definition{Mode: schemas.ModeMerge, Columns: w.tables["core.all"].def.Columns}.Core(w.dialect, w.tables["core.all"].name, b.Table)
	if err != nil {
		t.Fatal(err)
	}
	core.EventTimes, kept.EventTimes = []int{8, 10}, []string{"day", "at"}
	b.Table.Name = `core.it's "@rows"`
	parts, err := eventParts(core, kept, b, coretable.Head{}, "job-1", time.Unix(9, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	e, err := parseEvent(parts[0] + `"applied":1,"inserted":0,"updated":0,"deleted":1,"stale":2` + parts[1] + "false" + parts[2] + "[],[4]" + parts[3])
	if err != nil {
		t.Fatal(err)
	}
	if e.Table != b.Table.Name || e.Rows != (schemas.RowCounts{Read: 3, Applied: 1, Deleted: 1, Stale: 2}) || e.JobIDs[0] != "job-1" ||
		len(e.Touched) != 1 || e.Touched[0].Column != "at" || e.Touched[0].Ranges[0][0] != "1970-01-01T04:00:00Z" {
		t.Errorf("%+v", e)
	}
	e, err = parseEvent(parts[0] + `"applied":1,"inserted":0,"updated":0,"deleted":1,"stale":2` + parts[1] + "false" + parts[2] + sqlgen.AllBuckets + ",[4]" + parts[3])
	if err != nil || !e.All || len(e.Touched) != 1 || e.Touched[0].Column != "at" {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := parseEvent(`{"table":"x","load":1}`); err == nil {
		t.Error("half an event was taken")
	}
}

// The event of a load is a variable of its script, of which BigQuery takes 1 MB:
// beyond so many hours, it says that everything was touched.
func TestLoadOfManyHours(t *testing.T) {
	slow(t)
	p := newProject(t)
	_, table := fixture(schemas.ModeMerge)
	table.EventTimes = []string{"at", "day", "civil"} // the more, the shorter each list
	if err := p.w.Ensure(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	head, err := p.w.Acquire(t.Context(), table.Name, "topic", "id")
	if err != nil {
		t.Fatal(err)
	}
	const most = 50_000 / 3
	for load, hours := range []int{most, most + 1} {
		rows := &listed{}
		for i := range int64(hours) {
			key := int64(load)*1_000_000 + i
			rows.folds = append(rows.folds, warehouse.Folded{Op: schemas.Create, Pos: at(uint64(key) + 1)}) //nolint:gosec // small
			rows.write = append(rows.write, func(s warehouse.Sink) { s.Int(0, key); s.Int(10, 2*i*time.Hour.Microseconds()) })
		}
		done, err := p.w.Load(t.Context(), &warehouse.Batch{
			Table: table, Epoch: head.Epoch, Load: int64(load) + 1, Partitions: 1, Rows: rows, Counts: schemas.RowCounts{Read: int64(hours)}, StartedAt: time.Now(),
			Ranges: []schemas.Range{{Topic: "topic", From: int64(load) * most, To: int64(load)*most + int64(hours)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		logged, err := p.w.Loads(t.Context(), table.Name, int64(load), 1)
		if err != nil || len(logged) != 1 {
			t.Fatalf("%d events (%v)", len(logged), err)
		}
		for _, e := range []schemas.LoadComplete{done, logged[0]} {
			listed := slices.ContainsFunc(e.Touched, func(t schemas.Touched) bool { return t.Column == "at" && len(t.Ranges) > 0 })
			if e.All != (hours > most) || listed == e.All || len(e.Covers.EventTimes) != 3 {
				t.Errorf("%d hours: all %t, listed %t", hours, e.All, listed)
			}
		}
	}
}
