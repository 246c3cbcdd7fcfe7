package bigqueryfake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Recorder keeps the AppendRows requests that a client makes, so that they can
// be sent again by nothing but gRPC: that is the limit of every writer.
type Recorder struct {
	mu       sync.Mutex
	requests []*storagepb.AppendRowsRequest
}

// WriteOptions let the requests of managedwriter.NewClient be recorded.
func (r *Recorder) WriteOptions() []option.ClientOption {
	return []option.ClientOption{option.WithGRPCDialOption(grpc.WithChainStreamInterceptor(
		func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := open(ctx, desc, cc, method, opts...)
			return &recordedStream{s, r}, err
		}))}
}

type recordedStream struct {
	grpc.ClientStream
	to *Recorder
}

func (s *recordedStream) SendMsg(m any) error {
	if in, ok := m.(*storagepb.AppendRowsRequest); ok {
		in = proto.CloneOf(in) // its rows are the client's, which writes others there
		s.to.mu.Lock()
		s.to.requests = append(s.to.requests, in)
		s.to.mu.Unlock()
	}
	return s.ClientStream.SendMsg(m)
}

// Rows is how many rows the requests have.
func (r *Recorder) Rows() (n int64) {
	for _, in := range r.requests {
		n += int64(len(in.GetProtoRows().GetRows().GetSerializedRows()))
	}
	return n
}

// Send sends the requests to the service at addr, into a stream of their own,
// never more than depth of them without a reply.
func (r *Recorder) Send(ctx context.Context, addr string, depth int) (err error) {
	if len(r.requests) == 0 {
		return errors.New("send recorded requests: there are none")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	client := storagepb.NewBigQueryWriteClient(conn)
	table, _, _ := strings.Cut(r.requests[0].GetWriteStream(), "/streams/")
	made, err := client.CreateWriteStream(ctx, &storagepb.CreateWriteStreamRequest{
		Parent: table, WriteStream: &storagepb.WriteStream{Type: storagepb.WriteStream_COMMITTED},
	})
	if err != nil {
		return fmt.Errorf("make a stream into %s: %w", table, err)
	}
	stream, err := client.AppendRows(ctx)
	if err != nil {
		return fmt.Errorf("append to %s: %w", made.GetName(), err)
	}
	receive := func() error {
		reply, err := stream.Recv()
		if err == nil && reply.GetError() != nil {
			err = errors.New(reply.GetError().GetMessage())
		}
		if err != nil {
			return fmt.Errorf("append to %s: %w", made.GetName(), err)
		}
		return nil
	}
	var offset int64
	for i, in := range r.requests {
		// The first of a stream says what holds for all; the others are as they were.
		if in.GetWriteStream() != "" {
			in.WriteStream = made.GetName()
		}
		in.Offset = wrapperspb.Int64(offset)
		offset += int64(len(in.GetProtoRows().GetRows().GetSerializedRows()))
		if err := stream.Send(in); err != nil && !errors.Is(err, io.EOF) { // the reason of an EOF comes with Recv
			return fmt.Errorf("append to %s: %w", made.GetName(), err)
		}
		if i >= depth-1 {
			if err := receive(); err != nil {
				return err
			}
		}
	}
	for range min(depth-1, len(r.requests)) {
		if err := receive(); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return fmt.Errorf("end the appending to %s: %w", made.GetName(), err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("end the appending to %s: %w", made.GetName(), err)
	}
	return nil
}
