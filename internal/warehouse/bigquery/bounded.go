package bigquery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The client of the write path repeats a call that failed for twenty minutes, and
// the opening of a connection without end. Meanwhile it holds locks that the
// streams of all other tables take, tells nobody, and what it waits for, no context
// of ours ends. So it is let wait for nothing: whatever it asks of the service has
// an end, and an error reaches it in a form that it does not know how to repeat.
// To try again is the stage's part, which says so.

// bounded are the dial options that end what the client asks for: a call, and the
// opening of a stream, after call; the sending of rows, and the answer to them,
// after answer.
func bounded(call, answer time.Duration) []option.ClientOption {
	return []option.ClientOption{
		option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, in, out any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			ctx, stop := context.WithTimeout(ctx, call)
			defer stop()
			return once(invoke(ctx, method, in, out, conn, opts...))
		})),
		option.WithGRPCDialOption(grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			ctx, cancel := context.WithCancel(ctx) // with its parent, at the latest
			s := &boundedStream{cancel: cancel, limit: answer}
			err := s.within(call, "the opening of a connection", func() (err error) {
				s.ClientStream, err = open(ctx, desc, conn, method, opts...)
				return err
			})
			if err != nil {
				cancel()
				return nil, once(err)
			}
			return s, nil
		})),
	}
}

// boundedStream is a connection that ends if rows cannot be sent, or are not
// answered, in time. An answer is waited for only while one is due.
type boundedStream struct {
	grpc.ClientStream
	cancel context.CancelFunc
	limit  time.Duration
}

func (s *boundedStream) SendMsg(m any) error {
	err := s.within(s.limit, "the sending of rows", func() error { return s.ClientStream.SendMsg(m) })
	if isEnd(err) { // what broke the connection, the answers before this one tell
		return status.Error(codes.Unavailable, "the connection is closed")
	}
	return err
}

func (s *boundedStream) RecvMsg(m any) error {
	return s.within(s.limit, "the answer to rows", func() error { return s.ClientStream.RecvMsg(m) })
}

func (s *boundedStream) within(limit time.Duration, what string, do func() error) error {
	late := time.AfterFunc(limit, s.cancel)
	err := do()
	if !late.Stop() && err != nil {
		return status.Errorf(codes.DeadlineExceeded, "%s took longer than %s", what, limit)
	}
	return err
}

// onceError hides a status from a client that would act on it. Hence no Unwrap.
type onceError struct{ err error }

func (e *onceError) Error() string { return e.err.Error() }

func once(err error) error {
	if err == nil {
		return nil
	}
	return &onceError{err}
}

// heard is the error that the client was given, if it hands one of those on.
func heard(err error) error {
	var given *onceError
	if errors.As(err, &given) {
		return given.err
	}
	return err
}

// tookTooLong is the error of an opening that has not ended in time.
func tookTooLong(table string, limit time.Duration) error {
	return fmt.Errorf("open a stream into %s: %w", table, status.Errorf(codes.DeadlineExceeded, "it took longer than %s", limit))
}
