package bigquery

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/genproto/googleapis/rpc/status"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// The service may refuse what we take for right. Its word is passed on: rows are
// counted over all requests of the batch, and the column is named if it names its
// field.
func TestRowsThatTheServiceRefuses(t *testing.T) {
	s, w := newService(t)
	tab, b := owner(t, w)
	w.opts.RequestBytes = 700
	b.Rows, b.Counts.Read = many(20), 20
	perRequest := 0
	s.answered = func(n int, in *storagepb.AppendRowsRequest) *storagepb.AppendRowsResponse {
		if n == 1 {
			perRequest = len(in.GetProtoRows().GetRows().GetSerializedRows())
			return nil
		}
		return &storagepb.AppendRowsResponse{
			Response:  &storagepb.AppendRowsResponse_Error{Error: &status.Status{Code: 3, Message: "Errors found while processing rows."}},
			RowErrors: []*storagepb.RowError{{Index: 1, Message: "Field v1: no"}, {Index: 2, Message: "no"}},
		}
	}
	_, err := w.Load(t.Context(), b)
	var refused *warehouse.RowsError
	if !errors.As(err, &refused) || len(refused.Rows) != 2 || len(s.jobs) != 0 {
		t.Fatalf("got %v, %d jobs", err, len(s.jobs))
	}
	for i, want := range []string{"note", ""} {
		row := int64(perRequest + 1 + i)
		got := refused.Rows[i]
		if perRequest == 0 || got.Row != row || got.Column != want || got.Pos != at(uint64(row)+1) { //nolint:gosec // small
			t.Errorf("got %+v, want row %d, column %q", got, row, want)
		}
	}
	if tab.head == nil {
		t.Error("the head was forgotten though nothing was tried")
	}
}

// A delete carries its key alone: what else stands in it is of no interest.
func TestRefusedValuesOfADelete(t *testing.T) {
	p := newProject(t)
	c := newConsumer(t, p)
	rows := &listed{
		folds: []warehouse.Folded{{Op: schemas.Delete, Pos: at(1)}},
		write: []func(warehouse.Sink){func(s warehouse.Sink) { s.Int(0, 7); s.Bytes(1, []byte("\xff")) }},
	}
	done, err := p.w.Load(t.Context(), &warehouse.Batch{
		Table: c.table, Epoch: c.head.Epoch, Load: 1, Partitions: 1, Rows: rows, Counts: schemas.RowCounts{Read: 1}, StartedAt: time.Now(),
	})
	if err != nil || done.Rows.Applied != 1 {
		t.Errorf("%v: %s", err, fmt.Sprintf("%+v", done.Rows))
	}
}

// The message is the runbook's, of a value and of a row that is larger than a
// request.
func TestRefusedValuesAreTold(t *testing.T) {
	quote := runbook(t)["A value that no column can hold"]
	p := newProject(t)
	p.w.opts.RequestBytes = 1000
	c := newConsumer(t, p)
	for _, text := range []string{"\xff", strings.Repeat("x", 2000)} {
		b := c.batch(1)
		b.Rows = &listed{
			folds: []warehouse.Folded{{Op: schemas.Create, Pos: at(1)}},
			write: []func(warehouse.Sink){func(s warehouse.Sink) { s.Int(0, 7); s.Bytes(1, []byte(text)) }},
		}
		b.Counts.Read = 1
		_, err := p.w.Load(t.Context(), b)
		var refused *warehouse.RowsError
		if !errors.As(err, &refused) || !matches(err, quote) {
			t.Errorf("got %v", err)
		}
	}
	for c.head.Load < 2 {
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	c.check(t, 2)
}
