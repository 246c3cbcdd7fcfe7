package bigquery

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// service answers the two APIs as a test says. It runs no SQL: what it proves is
// what is asked of the service, in which order, and what is made of the answers.
type service struct {
	storagepb.UnimplementedBigQueryWriteServer

	mu    sync.Mutex
	calls []string // of the jobs API: method and what for
	jobs  map[string]*fakeJob
	// made says what becomes of the nth job, from 1.
	made func(n int, text string) fakeJob
	// unread is how questions for results are refused; the zero value: they are not.
	unread refusal
	// unseen are the answers to the next looks for a job, in place of it.
	unseen []refusal
	// tables are those that are described, by dataset.table, as field lists of
	// "name TYPE".
	tables map[string][]string
	// appended answers the nth append of a batch, from 1; nil takes all.
	appended func(n int) error
	// answered gives the whole answer, or nil to take the rows.
	answered func(n int, in *storagepb.AppendRowsRequest) *storagepb.AppendRowsResponse
	appends  int
	streams  int
	rows     map[string][][]byte // per stream, of the appends that were taken
	requests []int               // bytes of each
}

// fakeJob is a job and what its calls answer.
type fakeJob struct {
	text   string
	labels map[string]string
	// reason and message end the job in an error.
	reason, message string
	lost            bool     // the connection is cut before the reply to insert
	running         bool     // it never ends
	refused         int      // insert answers so and makes no job
	result          []string // the one row of the result
}

// refusal is an answer that is an error.
type refusal struct {
	code   int
	reason string
}

func newService(t *testing.T) (*service, *Warehouse) {
	t.Helper()
	s := &service{jobs: map[string]*fakeJob{}, tables: map[string][]string{}, rows: map[string][][]byte{}}
	rest := httptest.NewServer(s)
	t.Cleanup(rest.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(32 << 20))
	storagepb.RegisterBigQueryWriteServer(server, s)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-served })
	w, err := Open(t.Context(), Options{
		Project: "p", Location: "EU", RetryWait: time.Millisecond, CallTimeout: 2 * time.Second,
		Jobs: []option.ClientOption{option.WithEndpoint(rest.URL + "/bigquery/v2/"), option.WithoutAuthentication()},
		Writes: []option.ClientOption{
			option.WithEndpoint(listener.Addr().String()), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, w
}

func (s *service) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimPrefix(in.URL.Path, "/bigquery/v2/projects/p/")
	id := path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case in.Method == http.MethodPost && path == "jobs":
		s.insert(out, in)
	case strings.HasSuffix(path, "/cancel"):
		s.calls = append(s.calls, "cancel")
		reply(out, 200, map[string]any{})
	case strings.HasPrefix(path, "jobs/"):
		s.calls = append(s.calls, "get")
		if len(s.unseen) > 0 {
			refuse(out, s.unseen[0].code, s.unseen[0].reason, "not now")
			s.unseen = s.unseen[1:]
			return
		}
		if j := s.jobs[id]; j != nil {
			reply(out, 200, j.describe(id))
			return
		}
		refuse(out, 404, "notFound", "no such job")
	case strings.HasPrefix(path, "queries/"):
		s.calls = append(s.calls, "results")
		s.results(out, in, id)
	case strings.HasPrefix(path, "datasets/"):
		s.calls = append(s.calls, "table")
		parts := strings.Split(path, "/")
		s.describe(out, parts[1], parts[3])
	default:
		refuse(out, 501, "notImplemented", in.Method+" "+path)
	}
}

func (s *service) insert(out http.ResponseWriter, in *http.Request) {
	var body struct {
		JobReference  struct{ JobID string }
		Configuration struct {
			Labels map[string]string
			Query  struct{ Query string }
		}
	}
	text, err := io.ReadAll(in.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if err != nil {
		refuse(out, 400, "invalid", err.Error())
		return
	}
	id := body.JobReference.JobID
	s.calls = append(s.calls, "insert "+id[strings.LastIndexByte(id, '_')+1:])
	if s.jobs[id] != nil {
		refuse(out, 409, "duplicate", "Already Exists: Job "+id)
		return
	}
	job := s.made(len(s.jobs)+1, body.Configuration.Query.Query)
	job.text, job.labels = body.Configuration.Query.Query, body.Configuration.Labels
	if job.refused != 0 {
		refuse(out, job.refused, job.reason, job.message)
		return
	}
	s.jobs[id] = &job
	if job.lost {
		conn, _, err := out.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
		return
	}
	reply(out, 200, job.describe(id))
}

func (j *fakeJob) describe(id string) map[string]any {
	state := map[string]any{"state": "DONE"}
	if j.running {
		state["state"] = "RUNNING"
	}
	if j.reason != "" {
		state["errorResult"] = map[string]any{"reason": j.reason, "message": j.message}
	}
	return map[string]any{
		"jobReference":  map[string]any{"projectId": "p", "jobId": id, "location": "EU"},
		"configuration": map[string]any{"query": map[string]any{"query": j.text}},
		"status":        state,
		"statistics":    map[string]any{"startTime": "1000", "endTime": "2000", "query": map[string]any{"totalBytesBilled": "10485760", "totalSlotMs": "1500"}},
	}
}

func (s *service) results(out http.ResponseWriter, in *http.Request, id string) {
	j := s.jobs[id]
	switch {
	case s.unread.code != 0:
		refuse(out, s.unread.code, s.unread.reason, "not now")
		return
	case j == nil:
		refuse(out, 404, "notFound", "no such job")
		return
	case j.reason != "":
		refuse(out, 400, j.reason, j.message)
		return
	case j.running:
		reply(out, 200, map[string]any{"jobComplete": false, "jobReference": map[string]any{"projectId": "p", "jobId": id}})
		return
	}
	var fields, cells []map[string]any
	for i, v := range j.result {
		fields = append(fields, map[string]any{"name": fmt.Sprintf("f%d", i), "type": "STRING"})
		cells = append(cells, map[string]any{"v": v})
	}
	r := map[string]any{"jobComplete": true, "jobReference": map[string]any{"projectId": "p", "jobId": id}, "schema": map[string]any{"fields": fields}, "totalRows": "0"}
	if len(cells) > 0 {
		r["totalRows"] = "1"
		if in.URL.Query().Get("maxResults") != "0" {
			r["rows"] = []map[string]any{{"f": cells}}
		}
	}
	reply(out, 200, r)
}

func (s *service) describe(out http.ResponseWriter, dataset, name string) {
	list, ok := s.tables[dataset+"."+name]
	if !ok {
		refuse(out, 404, "notFound", "no such table")
		return
	}
	var fields []map[string]any
	for _, f := range list {
		name, kind, _ := strings.Cut(f, " ")
		fields = append(fields, map[string]any{"name": name, "type": kind})
	}
	reply(out, 200, map[string]any{
		"tableReference": map[string]any{"projectId": "p", "datasetId": dataset, "tableId": name}, "type": "TABLE", "schema": map[string]any{"fields": fields},
	})
}

func reply(out http.ResponseWriter, code int, body any) {
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(code)
	_ = json.NewEncoder(out).Encode(body)
}

func refuse(out http.ResponseWriter, code int, reason, message string) {
	reply(out, code, map[string]any{"error": map[string]any{
		"code": code, "message": message, "errors": []map[string]any{{"reason": reason, "message": message}},
	}})
}

// CreateWriteStream implements the write API.
func (s *service) CreateWriteStream(_ context.Context, in *storagepb.CreateWriteStreamRequest) (*storagepb.WriteStream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams++
	return &storagepb.WriteStream{Name: fmt.Sprintf("%s/streams/s%d", in.GetParent(), s.streams), Type: in.GetWriteStream().GetType(), Location: "EU"}, nil
}

// GetWriteStream implements the write API.
func (s *service) GetWriteStream(_ context.Context, in *storagepb.GetWriteStreamRequest) (*storagepb.WriteStream, error) {
	return &storagepb.WriteStream{Name: in.GetName(), Type: storagepb.WriteStream_COMMITTED, Location: "EU"}, nil
}

// AppendRows implements the write API: offsets must follow each other.
func (s *service) AppendRows(conn storagepb.BigQueryWrite_AppendRowsServer) error {
	name := ""
	for {
		in, err := conn.Recv()
		if err != nil {
			return nil //nolint:nilerr // the client has hung up
		}
		if in.GetWriteStream() != "" {
			name = in.GetWriteStream()
		}
		if err := conn.Send(s.take(name, in)); err != nil {
			return err
		}
	}
}

func (s *service) take(name string, in *storagepb.AppendRowsRequest) *storagepb.AppendRowsResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appends++
	fail := func(err error) *storagepb.AppendRowsResponse {
		st, _ := status.FromError(err)
		return &storagepb.AppendRowsResponse{Response: &storagepb.AppendRowsResponse_Error{Error: st.Proto()}}
	}
	if s.appended != nil {
		if err := s.appended(s.appends); err != nil {
			return fail(err)
		}
	}
	if s.answered != nil {
		if out := s.answered(s.appends, in); out != nil {
			return out
		}
	}
	at := int64(len(s.rows[name]))
	if in.GetOffset().GetValue() != at {
		return fail(status.Errorf(codes.OutOfRange, "offset %d: the stream is at %d", in.GetOffset().GetValue(), at))
	}
	size := 0
	for _, row := range in.GetProtoRows().GetRows().GetSerializedRows() {
		s.rows[name] = append(s.rows[name], append([]byte(nil), row...))
		size += len(row)
	}
	s.requests = append(s.requests, size)
	return &storagepb.AppendRowsResponse{Response: &storagepb.AppendRowsResponse_AppendResult_{
		AppendResult: &storagepb.AppendRowsResponse_AppendResult{Offset: wrapperspb.Int64(at)},
	}}
}

// called are the calls of the jobs API since the last question.
func (s *service) called() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.calls, ", ")
	s.calls = nil
	return out
}
