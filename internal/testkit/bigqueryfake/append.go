package bigqueryfake

import (
	"context"
	"errors"
	"io"
	"strings"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// maxAppend is the most that one request of AppendRows may hold.
const maxAppend = 20 << 20

// connection is one call of AppendRows: what its first request says holds for
// those that say nothing.
type connection struct {
	*Fake
	stream *stream
	shape  *shape
	known  int // columns of the table that the client was told of
}

// AppendRows answers requests in their order. What is wrong with a request's
// offset, shape or rows is said in its answer; what is wrong with the stream
// ends the connection.
func (w *writeServer) AppendRows(server storagepb.BigQueryWrite_AppendRowsServer) error {
	c := &connection{Fake: w.Fake}
	for {
		in, err := server.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		fault := w.faults.at("AppendRows")
		switch fault.kind {
		case faultRefuse:
			return status.Error(fault.code, fault.api.message)
		case faultCut:
			return status.Error(codes.Unavailable, "the connection was closed")
		case faultHang:
			if err := w.hang(server.Context(), fault); err != nil {
				return status.Error(codes.Canceled, err.Error())
			}
		}
		out, err := c.answer(server.Context(), in, fault.kind == faultGone)
		if err != nil {
			return err
		}
		if fault.kind == faultLost {
			return status.Error(codes.Unavailable, "the connection was closed")
		}
		if err := server.Send(out); err != nil {
			return err
		}
	}
}

func (c *connection) answer(ctx context.Context, in *storagepb.AppendRowsRequest, gone bool) (*storagepb.AppendRowsResponse, error) {
	if size := proto.Size(in); size > maxAppend {
		return nil, status.Errorf(codes.InvalidArgument, "AppendRows request too large: %d limit %d", size, maxAppend)
	}
	if err := c.open(in, gone); err != nil {
		return nil, err.Err()
	}
	if in.GetArrowRows() != nil {
		return nil, status.Error(codes.Unimplemented, "bigqueryfake: Arrow rows are not in its set")
	}
	out := &storagepb.AppendRowsResponse{WriteStream: c.stream.name}
	offset, rowErrors, fault := c.append(ctx, in)
	if fault != nil {
		out.Response = &storagepb.AppendRowsResponse_Error{Error: &rpcstatus.Status{Code: fault.Proto().GetCode(), Message: fault.Message(), Details: fault.Proto().GetDetails()}}
		out.RowErrors = rowErrors
		return out, nil
	}
	result := &storagepb.AppendRowsResponse_AppendResult{}
	if !c.stream.isDefault() {
		result.Offset = offsetOf(offset)
	}
	out.Response = &storagepb.AppendRowsResponse_AppendResult_{AppendResult: result}
	c.mu.Lock()
	defer c.mu.Unlock()
	if schema := c.writeSchema(c.stream.table); len(schema.GetFields()) > c.known {
		c.known, out.UpdatedSchema = len(schema.GetFields()), schema
	}
	return out, nil
}

// open takes the stream and the shape of rows from the request, if it names them.
func (c *connection) open(in *storagepb.AppendRowsRequest, gone bool) *status.Status {
	name := in.GetWriteStream()
	if name == "" && c.stream == nil {
		return status.New(codes.InvalidArgument, "the first request names no stream")
	}
	if name == "" {
		name = c.stream.name
	}
	if gone && strings.HasSuffix(name, "/_default") { // it is there again for the next request
		return storageError(codes.NotFound, storagepb.StorageError_STREAM_NOT_FOUND, name, "Requested entity was not found. Entity: %s", name)
	}
	if gone {
		c.lose(name)
	}
	s, missing := c.findStream(name)
	if missing != nil {
		return missing
	}
	if c.stream != nil && c.stream != s {
		if !c.stream.isDefault() || !s.isDefault() {
			return status.New(codes.InvalidArgument, "a connection serves several streams only if they are default streams")
		}
		c.shape = nil
	}
	if c.stream != s {
		c.stream = s
		c.mu.Lock()
		c.known = len(c.writeSchema(s.table).GetFields())
		c.mu.Unlock()
	}
	return nil
}

// lose takes a stream away for good.
func (c *connection) lose(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[name]; s != nil {
		s.gone = true
	}
}

// append checks a request and takes its rows.
func (c *connection) append(ctx context.Context, in *storagepb.AppendRowsRequest) (offset int64, rowErrors []*storagepb.RowError, fault *status.Status) {
	s := c.stream
	select {
	case s.appending <- struct{}{}:
		defer func() { <-s.appending }()
	case <-ctx.Done():
		return 0, nil, status.FromContextError(ctx.Err())
	}
	if fault := c.checkOffset(in); fault != nil {
		return 0, nil, fault
	}
	if schema := in.GetProtoRows().GetWriterSchema(); schema != nil {
		shape, fault := c.shapeOf(schema.GetProtoDescriptor())
		if fault != nil {
			return 0, nil, fault
		}
		c.shape = shape
	}
	if c.shape == nil {
		return 0, nil, status.New(codes.InvalidArgument, "the first request has no schema of its rows")
	}
	serialized := in.GetProtoRows().GetRows().GetSerializedRows()
	if len(serialized) == 0 {
		return 0, nil, status.New(codes.InvalidArgument, "Rows must be specified.")
	}
	rows := make([][]value, 0, len(serialized))
	for i, text := range serialized {
		row, err := c.shape.row(text)
		if err != nil {
			rowErrors = append(rowErrors, &storagepb.RowError{Index: int64(i), Code: storagepb.RowError_FIELDS_ERROR, Message: err.Error()})
			continue
		}
		rows = append(rows, row)
	}
	if len(rowErrors) > 0 {
		return 0, rowErrors, storageError(codes.InvalidArgument, storagepb.StorageError_INVALID_STREAM_STATE, s.name, "Errors found while processing rows. Please refer to the row_errors field for details. The list may not be complete because of the size limitations.")
	}
	return c.take(ctx, rows)
}

func (c *connection) checkOffset(in *storagepb.AppendRowsRequest) *status.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stream
	switch {
	case s.finalized:
		return storageError(codes.InvalidArgument, storagepb.StorageError_STREAM_FINALIZED, s.name, "Stream has been finalized and cannot be appended: %s", s.name)
	case in.GetOffset() == nil:
		return nil
	case s.isDefault():
		return status.New(codes.InvalidArgument, "The default stream takes no offset")
	}
	switch at := in.GetOffset().GetValue(); {
	case at < s.next:
		return storageError(codes.AlreadyExists, storagepb.StorageError_OFFSET_ALREADY_EXISTS, s.name, "The offset is within stream, expected offset %d, received %d", s.next, at)
	case at > s.next:
		return storageError(codes.OutOfRange, storagepb.StorageError_OFFSET_OUT_OF_RANGE, s.name, "The offset is beyond stream, expected offset %d, received %d", s.next, at)
	}
	return nil
}

// take keeps the rows: readable at once, or with a later flush or commit.
func (c *connection) take(ctx context.Context, rows [][]value) (offset int64, rowErrors []*storagepb.RowError, fault *status.Status) {
	s := c.stream
	if s.kind == storagepb.WriteStream_COMMITTED && !c.opts.Discard {
		if c.shape.cdc() {
			fault = c.applyChanges(ctx, rows)
		} else if err := c.store(ctx, s.table, rows); err != nil {
			fault = status.New(codes.InvalidArgument, err.Error())
		}
		if fault != nil {
			return 0, nil, fault
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.kind != storagepb.WriteStream_COMMITTED && !c.opts.Discard {
		s.pending = append(s.pending, rows...)
	}
	offset = s.next
	s.next += int64(len(rows))
	return offset, nil, nil
}
