package bigqueryfake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// stream is a stream of the write path. Fake.mu guards it.
type stream struct {
	name      string
	table     *table
	kind      storagepb.WriteStream_Type
	created   time.Time
	next      int64 // the offset of the next row
	flushed   int64 // of a BUFFERED stream, the rows that can be read
	finalized bool
	committed time.Time // of a PENDING stream
	gone      bool
	// pending are the rows that cannot be read yet, from flushed on.
	pending [][]value
	// appending is held by the request that appends: one at a time.
	appending chan struct{}
}

func (s *stream) isDefault() bool { return strings.HasSuffix(s.name, "/_default") }

// writeServer is the Storage Write API.
type writeServer struct {
	storagepb.UnimplementedBigQueryWriteServer
	*Fake
}

// storageError is an error with the detail by which clients tell errors apart.
func storageError(code codes.Code, detail storagepb.StorageError_StorageErrorCode, entity, format string, args ...any) *status.Status {
	message := fmt.Sprintf(format, args...)
	s := status.New(code, message)
	if detail == storagepb.StorageError_STORAGE_ERROR_CODE_UNSPECIFIED {
		return s
	}
	if with, err := s.WithDetails(&storagepb.StorageError{Code: detail, Entity: entity, ErrorMessage: message}); err == nil {
		return with
	}
	return s
}

// unary runs a method with its fault.
func unary[R any](ctx context.Context, w *writeServer, method string, run func() (R, error)) (out R, err error) {
	fault := w.faults.at(method)
	switch fault.kind {
	case faultRefuse:
		return out, status.Error(fault.code, fault.api.message)
	case faultCut:
		return out, status.Error(codes.Unavailable, "the connection was closed")
	case faultHang:
		if err := w.hang(ctx, fault); err != nil {
			return out, status.Error(codes.Canceled, err.Error())
		}
	}
	out, err = run()
	if fault.kind == faultLost {
		var none R
		return none, status.Error(codes.Unavailable, "the connection was closed")
	}
	return out, err
}

// parentTable finds the table of projects/p/datasets/d/tables/t.
func (f *Fake) parentTable(name string) (*table, *status.Status) {
	parts := strings.Split(name, "/")
	if len(parts) != 6 || parts[0] != "projects" || parts[2] != "datasets" || parts[4] != "tables" {
		return nil, status.Newf(codes.InvalidArgument, "Invalid table name %q", name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if parts[1] != f.opts.Project {
		return nil, status.Newf(codes.PermissionDenied, "Permission 'TABLES_UPDATE_DATA' denied on resource '%s' (or it may not exist).", name)
	}
	t, missing := f.tableAt(parts[3], parts[5])
	if missing == nil && t.created.Add(f.opts.TableDelay).After(f.now()) {
		missing = notFound("Table %s", name)
	}
	if missing != nil {
		return nil, storageError(codes.NotFound, storagepb.StorageError_TABLE_NOT_FOUND, name, "Requested entity was not found. %s", missing.message)
	}
	if t.isView() {
		return nil, status.Newf(codes.InvalidArgument, "%s is a view", name)
	}
	return t, nil
}

// findStream finds a stream; every table has its default stream.
func (f *Fake) findStream(name string) (*stream, *status.Status) {
	parent, id, ok := strings.Cut(name, "/streams/")
	if !ok {
		parent, ok = strings.CutSuffix(name, "/_default")
		id = "_default"
	}
	if !ok {
		return nil, status.Newf(codes.InvalidArgument, "Invalid stream name %q", name)
	}
	t, missing := f.parentTable(parent)
	if missing != nil {
		return nil, missing
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name = parent + "/streams/" + id
	s := f.streams[name]
	if s == nil && id == "_default" || s != nil && s.isDefault() && s.table != t {
		s = &stream{name: name, table: t, kind: storagepb.WriteStream_COMMITTED, created: f.now(), appending: make(chan struct{}, 1)}
		f.streams[name] = s
	}
	if s == nil || s.gone || s.table != t {
		return nil, storageError(codes.NotFound, storagepb.StorageError_STREAM_NOT_FOUND, name, "Requested entity was not found. Entity: %s", name)
	}
	return s, nil
}

func (w *writeServer) CreateWriteStream(ctx context.Context, in *storagepb.CreateWriteStreamRequest) (*storagepb.WriteStream, error) {
	return unary(ctx, w, "CreateWriteStream", func() (*storagepb.WriteStream, error) {
		t, missing := w.parentTable(in.GetParent())
		if missing != nil {
			return nil, missing.Err()
		}
		kind := in.GetWriteStream().GetType()
		if kind == storagepb.WriteStream_TYPE_UNSPECIFIED {
			return nil, status.Error(codes.InvalidArgument, "the stream's type is not given")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		s := &stream{
			name: fmt.Sprintf("%s/streams/s%08d", in.GetParent(), w.next()), table: t, kind: kind, created: w.now(),
			appending: make(chan struct{}, 1),
		}
		w.streams[s.name] = s
		return w.streamOf(s, true), nil
	})
}

// streamOf is the stream as the API has it. f.mu is held.
func (f *Fake) streamOf(s *stream, full bool) *storagepb.WriteStream {
	out := &storagepb.WriteStream{
		Name: s.name, Type: s.kind, CreateTime: timestamppb.New(s.created), WriteMode: storagepb.WriteStream_INSERT,
		Location: f.datasets[s.table.dataset].location,
	}
	if !s.committed.IsZero() {
		out.CommitTime = timestamppb.New(s.committed)
	}
	if full {
		out.TableSchema = f.writeSchema(s.table)
	}
	return out
}

// writeSchema is the table as the write path sees it now. f.mu is held.
func (f *Fake) writeSchema(t *table) *storagepb.TableSchema {
	out := &storagepb.TableSchema{}
	for i, c := range t.columns {
		if t.visible[i].After(f.now()) {
			continue
		}
		field := &storagepb.TableFieldSchema{
			Name: c.name, Mode: storagepb.TableFieldSchema_NULLABLE, Type: storageType(c.typ), Precision: c.typ.precision, Scale: c.typ.scale,
		}
		if c.required {
			field.Mode = storagepb.TableFieldSchema_REQUIRED
		}
		out.Fields = append(out.Fields, field)
	}
	return out
}

func storageType(t columnType) storagepb.TableFieldSchema_Type {
	switch t.name {
	case "FLOAT64":
		return storagepb.TableFieldSchema_DOUBLE
	default:
		return storagepb.TableFieldSchema_Type(storagepb.TableFieldSchema_Type_value[t.name])
	}
}

func (w *writeServer) GetWriteStream(ctx context.Context, in *storagepb.GetWriteStreamRequest) (*storagepb.WriteStream, error) {
	return unary(ctx, w, "GetWriteStream", func() (*storagepb.WriteStream, error) {
		s, missing := w.findStream(in.GetName())
		if missing != nil {
			return nil, missing.Err()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.streamOf(s, in.GetView() == storagepb.WriteStreamView_FULL), nil
	})
}

func (w *writeServer) FinalizeWriteStream(ctx context.Context, in *storagepb.FinalizeWriteStreamRequest) (*storagepb.FinalizeWriteStreamResponse, error) {
	return unary(ctx, w, "FinalizeWriteStream", func() (*storagepb.FinalizeWriteStreamResponse, error) {
		s, missing := w.findStream(in.GetName())
		if missing != nil {
			return nil, missing.Err()
		}
		if s.isDefault() {
			return nil, status.Error(codes.InvalidArgument, "the default stream cannot be finalized")
		}
		s.appending <- struct{}{}
		defer func() { <-s.appending }()
		w.mu.Lock()
		defer w.mu.Unlock()
		s.finalized = true
		return &storagepb.FinalizeWriteStreamResponse{RowCount: s.next}, nil
	})
}

func (w *writeServer) FlushRows(ctx context.Context, in *storagepb.FlushRowsRequest) (*storagepb.FlushRowsResponse, error) {
	return unary(ctx, w, "FlushRows", func() (*storagepb.FlushRowsResponse, error) {
		s, missing := w.findStream(in.GetWriteStream())
		if missing != nil {
			return nil, missing.Err()
		}
		if s.kind != storagepb.WriteStream_BUFFERED {
			return nil, status.Error(codes.InvalidArgument, "only a BUFFERED stream is flushed")
		}
		s.appending <- struct{}{}
		defer func() { <-s.appending }()
		through := s.next - 1
		if in.GetOffset() != nil {
			through = in.GetOffset().GetValue()
		}
		if through >= s.next {
			return nil, storageError(codes.OutOfRange, storagepb.StorageError_OFFSET_OUT_OF_RANGE, s.name, "offset %d is behind the stream's end %d", through, s.next).Err()
		}
		if n := through + 1 - s.flushed; n > 0 {
			if err := w.store(ctx, s.table, s.pending[:n]); err != nil {
				return nil, status.Error(codes.Internal, err.Error())
			}
			s.pending, s.flushed = s.pending[n:], through+1
		}
		return &storagepb.FlushRowsResponse{Offset: s.flushed - 1}, nil
	})
}

// BatchCommitWriteStreams makes the rows of PENDING streams readable, all or
// none, and each stream once.
func (w *writeServer) BatchCommitWriteStreams(ctx context.Context, in *storagepb.BatchCommitWriteStreamsRequest) (*storagepb.BatchCommitWriteStreamsResponse, error) {
	return unary(ctx, w, "BatchCommitWriteStreams", func() (*storagepb.BatchCommitWriteStreamsResponse, error) {
		t, missing := w.parentTable(in.GetParent())
		if missing != nil {
			return nil, missing.Err()
		}
		out := &storagepb.BatchCommitWriteStreamsResponse{}
		var streams []*stream
		for _, name := range in.GetWriteStreams() {
			s, missing := w.findStream(name)
			if missing != nil {
				out.StreamErrors = append(out.StreamErrors, &storagepb.StorageError{Code: storagepb.StorageError_STREAM_NOT_FOUND, Entity: name, ErrorMessage: missing.Message()})
				continue
			}
			streams = append(streams, s)
		}
		rows, now := w.commitStreams(t, streams, out)
		if len(out.StreamErrors) > 0 {
			return out, nil
		}
		if err := w.store(ctx, t, rows); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		out.CommitTime = timestamppb.New(now)
		return out, nil
	})
}

// commitStreams takes the rows of the streams, if all of them can be committed.
func (w *writeServer) commitStreams(t *table, streams []*stream, out *storagepb.BatchCommitWriteStreamsResponse) (rows [][]value, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range streams {
		fault := &storagepb.StorageError{Entity: s.name}
		switch {
		case s.table != t || s.kind != storagepb.WriteStream_PENDING:
			fault.Code, fault.ErrorMessage = storagepb.StorageError_INVALID_STREAM_TYPE, "only PENDING streams of one table are committed"
		case !s.committed.IsZero() || slices.Contains(streams[:i], s):
			fault.Code, fault.ErrorMessage = storagepb.StorageError_STREAM_ALREADY_COMMITTED, "Stream is already committed"
		case !s.finalized:
			fault.Code, fault.ErrorMessage = storagepb.StorageError_INVALID_STREAM_STATE, "Stream must be finalized before it is committed"
		default:
			continue
		}
		out.StreamErrors = append(out.StreamErrors, fault)
	}
	if len(out.StreamErrors) > 0 {
		return nil, now
	}
	now = w.now()
	for _, s := range streams {
		rows = append(rows, s.pending...)
		s.committed, s.pending = now, nil
	}
	return rows, now
}

func offsetOf(n int64) *wrapperspb.Int64Value { return wrapperspb.Int64(n) }
