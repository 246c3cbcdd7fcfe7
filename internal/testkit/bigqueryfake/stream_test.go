package bigqueryfake_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"cloud.google.com/go/bigquery/storage/managedwriter"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"millrace/internal/testkit/bigqueryfake"
)

func setupTable(t *testing.T, opts bigqueryfake.Options) *bench {
	b := setup(t, opts)
	b.do("CREATE SCHEMA core", "CREATE TABLE core.t (id INT64, v STRING)")
	return b
}

func TestOffsets(t *testing.T) {
	b := setupTable(t, bigqueryfake.Options{})
	d, m := message(t, "id", kindInt)
	s := b.stream("t", d, managedwriter.CommittedStream)
	for _, c := range []struct {
		at   int64
		want storagepb.StorageError_StorageErrorCode
	}{
		{0, 0},
		{0, storagepb.StorageError_OFFSET_ALREADY_EXISTS},
		{2, storagepb.StorageError_OFFSET_OUT_OF_RANGE},
		{1, 0},
	} {
		got, err := b.append(s, rowsOf(t, m, []any{c.at}), managedwriter.WithOffset(c.at))
		if code(err) != c.want || err == nil && got != c.at || (err != nil) != (c.want != 0) {
			t.Errorf("at %d: offset %d, %v; want %v", c.at, got, err, c.want)
		}
	}
	b.want("SELECT id FROM core.t ORDER BY id", "[0]", "[1]")
	if _, err := b.append(b.stream("t", d, managedwriter.DefaultStream), rowsOf(t, m, []any{int64(1)}), managedwriter.WithOffset(0)); err == nil {
		t.Error("the default stream took an offset")
	}
}

func TestPendingStreamsCommitOnceAndTogether(t *testing.T) {
	b := setupTable(t, bigqueryfake.Options{})
	d, m := message(t, "id", kindInt)
	one, two := b.stream("t", d, managedwriter.PendingStream), b.stream("t", d, managedwriter.PendingStream)
	for i, s := range []*managedwriter.ManagedStream{one, two} {
		if _, err := b.append(s, rowsOf(t, m, []any{int64(i)}), managedwriter.WithOffset(0)); err != nil {
			t.Fatal(err)
		}
	}
	commit := func() []*storagepb.StorageError {
		t.Helper()
		out, err := b.write.BatchCommitWriteStreams(b.ctx, &storagepb.BatchCommitWriteStreamsRequest{
			Parent: parent(b, "t"), WriteStreams: []string{one.StreamName(), two.StreamName()},
		})
		if err != nil {
			t.Fatal(err)
		}
		if (out.GetCommitTime() == nil) != (len(out.GetStreamErrors()) > 0) {
			t.Errorf("a commit time and errors: %v", out)
		}
		return out.GetStreamErrors()
	}
	if n, err := one.Finalize(b.ctx); err != nil || n != 1 {
		t.Fatalf("finalize: %d rows, %v", n, err)
	}
	if _, err := b.append(one, rowsOf(t, m, []any{int64(9)}), managedwriter.WithOffset(1)); code(err) != storagepb.StorageError_STREAM_FINALIZED {
		t.Errorf("append to a finalized stream: %v", err)
	}
	if errs := commit(); len(errs) != 1 || errs[0].GetCode() != storagepb.StorageError_INVALID_STREAM_STATE {
		t.Errorf("one is not finalized: %v", errs)
	}
	b.want("SELECT COUNT(*) FROM core.t", "[0]")
	if _, err := two.Finalize(b.ctx); err != nil {
		t.Fatal(err)
	}
	// The reply of the commit is lost: the client cannot tell, and asks again.
	b.fake.On("BatchCommitWriteStreams", 1, bigqueryfake.LoseReply())
	if errs := commit(); len(errs) != 2 || errs[0].GetCode() != storagepb.StorageError_STREAM_ALREADY_COMMITTED {
		t.Errorf("a second time: %v", errs)
	}
	b.want("SELECT id FROM core.t ORDER BY id", "[0]", "[1]")
}

func TestBufferedStreamsAreReadUpToTheFlush(t *testing.T) {
	b := setupTable(t, bigqueryfake.Options{})
	d, m := message(t, "id", kindInt)
	s := b.stream("t", d, managedwriter.BufferedStream)
	if _, err := b.append(s, rowsOf(t, m, []any{int64(0)}, []any{int64(1)}, []any{int64(2)})); err != nil {
		t.Fatal(err)
	}
	if at, err := s.FlushRows(b.ctx, 1); err != nil || at != 1 {
		t.Fatalf("flushed to %d, %v", at, err)
	}
	if _, err := s.FlushRows(b.ctx, 3); status.Code(err) != codes.OutOfRange {
		t.Errorf("a flush behind the end: %v", err)
	}
	b.want("SELECT id FROM core.t ORDER BY id", "[0]", "[1]")
}

func TestFieldsAreChecked(t *testing.T) {
	b := setupTable(t, bigqueryfake.Options{})
	if err := b.bq.Dataset("core").Table("r").Create(b.ctx, requiredTable()); err != nil {
		t.Fatal(err)
	}
	text, m := message(t, "id", kindText)
	if _, err := b.append(b.stream("t", text, managedwriter.DefaultStream), rowsOf(t, m, []any{"x"})); err == nil || !strings.Contains(err.Error(), "mismatched with BigQuery field at id") {
		t.Errorf("another type: %v", err)
	}
	more, m := message(t, "id", kindInt, "none", kindText)
	if _, err := b.append(b.stream("t", more, managedwriter.DefaultStream), rowsOf(t, m, []any{int64(1), "x"})); code(err) != storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS {
		t.Errorf("a field that the table has not: %v", err)
	}
	// All of a request is refused if a row is.
	both, m := message(t, "id", kindInt, "v", kindText)
	done, err := b.stream("r", both, managedwriter.DefaultStream).AppendRows(b.ctx, rowsOf(t, m, []any{int64(1), "x"}, []any{nil, "y"}))
	if err != nil {
		t.Fatal(err)
	}
	full, err := done.FullResponse(b.ctx)
	if err == nil || len(full.GetRowErrors()) != 1 || full.GetRowErrors()[0].GetIndex() != 1 {
		t.Errorf("a required value is missing: %v, %v", full, err)
	}
	b.want("SELECT COUNT(*) FROM core.r", "[0]")
	onlyV, m := message(t, "v", kindText)
	if _, err := b.append(b.stream("r", onlyV, managedwriter.DefaultStream), rowsOf(t, m, []any{"x"})); err == nil || !strings.Contains(err.Error(), "required field id is missing") {
		t.Errorf("a required field is missing: %v", err)
	}
}

func TestRequestOverTheLimit(t *testing.T) {
	b := setupTable(t, bigqueryfake.Options{})
	d, m := message(t, "id", kindInt, "v", kindText)
	s := b.stream("t", d, managedwriter.DefaultStream)
	if _, err := b.append(s, rowsOf(t, m, []any{int64(1), strings.Repeat("x", 20<<20)})); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a request of 20 MB: %v", err)
	}
	if _, err := b.append(s, rowsOf(t, m, []any{int64(1), strings.Repeat("x", 19<<20)})); err != nil {
		t.Errorf("one of 19 MB: %v", err)
	}
	b.want("SELECT COUNT(*) FROM core.t", "[1]")
}

func TestNewColumnIsSeenLater(t *testing.T) {
	b := setupTable(t, bigqueryfake.Options{SchemaDelay: time.Hour})
	b.do("ALTER TABLE core.t ADD COLUMN w STRING")
	b.want("SELECT COUNT(w) FROM core.t", "[0]")
	d, m := message(t, "id", kindInt, "w", kindText)
	s := b.stream("t", d, managedwriter.DefaultStream)
	if _, err := b.append(s, rowsOf(t, m, []any{int64(1), "x"})); code(err) != storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS {
		t.Errorf("before the delay: %v", err)
	}
	b.fake.Skew(2 * time.Hour)
	again := b.stream("t", d, managedwriter.DefaultStream) // a connection says its schema once
	if _, err := b.append(again, rowsOf(t, m, []any{int64(1), "x"})); err != nil {
		t.Errorf("behind it: %v", err)
	}
	b.want("SELECT id, v, w FROM core.t", "[1 <nil> x]")
}

func TestFaultsOfTheWritePath(t *testing.T) {
	b := setupTable(t, bigqueryfake.Options{})
	d, m := message(t, "id", kindInt)
	s := b.stream("t", d, managedwriter.CommittedStream)
	// A lost reply: the rows are there, and the same offset says so.
	b.fake.On("AppendRows", 1, bigqueryfake.LoseReply())
	if _, err := b.append(s, rowsOf(t, m, []any{int64(0)}), managedwriter.WithOffset(0)); status.Code(err) != codes.Unavailable {
		t.Errorf("the reply was lost: %v", err)
	}
	if _, err := b.append(s, rowsOf(t, m, []any{int64(0)}), managedwriter.WithOffset(0)); code(err) != storagepb.StorageError_OFFSET_ALREADY_EXISTS {
		t.Errorf("again: %v", err)
	}
	b.fake.On("AppendRows", 1, bigqueryfake.Cut())
	if _, err := b.append(s, rowsOf(t, m, []any{int64(1)}), managedwriter.WithOffset(1)); status.Code(err) != codes.Unavailable {
		t.Errorf("the connection was cut: %v", err)
	}
	b.fake.On("AppendRows", 1, bigqueryfake.Refuse(http.StatusTooManyRequests, "rateLimitExceeded", "Exceeds quota"))
	if _, err := b.append(s, rowsOf(t, m, []any{int64(1)}), managedwriter.WithOffset(1)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the quota was spent: %v", err)
	}
	b.want("SELECT id FROM core.t", "[0]")
	b.fake.On("AppendRows", 1, bigqueryfake.StreamGone())
	if _, err := b.append(s, rowsOf(t, m, []any{int64(1)}), managedwriter.WithOffset(1)); status.Code(err) != codes.NotFound {
		t.Errorf("the stream is gone: %v", err)
	}
	if got := b.fake.Fired(); len(got) != 4 {
		t.Errorf("fired %v", got)
	}
}
