package bigquery

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/api/googleapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

// class is what an error asks for.
type class int

const (
	fatal    class = iota // a person
	again                 // nothing happened: another attempt
	unknown               // it may have happened: look it up
	quota                 // another attempt, much later
	lag                   // what was made is not seen yet: the same again, later
	moved                 // the stream is of no use: another one
	fenced                // another writer owns the table
	conflict              // another transaction wrote the table first
)

// String is the class as a label of metrics.
func (c class) String() string {
	switch c {
	case quota:
		return "quota"
	case lag:
		return "not seen yet"
	case conflict:
		return "conflict"
	case unknown:
		return "no answer"
	}
	return "error"
}

// classOf tells errors apart. Those of a job that has ended come as *jobError,
// those of a call as *googleapi.Error, those of the write path as a status.
func classOf(err error) class {
	var job *jobError
	var call *googleapi.Error
	var unfit *unfitError
	switch {
	case errors.Is(err, context.Canceled), errors.As(err, &unfit):
		return fatal
	case errors.As(err, &job):
		return classOfReason(job.reason, job.message)
	case errors.As(err, &call):
		return classOfCall(call)
	case isCredentials(err), isForeign(err), isTooLong(err):
		return fatal
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.OK {
		return classOfStatus(s)
	}
	// The connection broke, or the call took too long.
	return unknown
}

func classOfCall(e *googleapi.Error) class {
	reason := ""
	if len(e.Errors) > 0 {
		reason = e.Errors[0].Reason
	}
	c := classOfReason(reason, e.Message)
	switch {
	case c != fatal:
		if c == again && e.Code >= http.StatusInternalServerError {
			return unknown // a job may have been made nevertheless
		}
		return c
	case e.Code == http.StatusTooManyRequests:
		return quota
	case e.Code >= http.StatusInternalServerError && e.Code != http.StatusNotImplemented:
		return unknown
	}
	return fatal
}

// classOfReason goes by the reason, and where it is the same for many things,
// by the message.
func classOfReason(reason, message string) class {
	switch {
	case strings.Contains(message, sqlgen.ReasonFenced), strings.Contains(message, sqlgen.ReasonRevision):
		return fenced
	case strings.Contains(message, sqlgen.ReasonLost):
		return moved
	case strings.Contains(message, "aborted due to concurrent update"), strings.Contains(message, "Could not serialize access"):
		return conflict
	}
	switch reason {
	case "backendError", "internalError", "jobBackendError", "jobInternalError", "stopped", "timeout", "tableUnavailable":
		return again
	case "rateLimitExceeded", "jobRateLimitExceeded", "quotaExceeded", "userRateLimitExceeded":
		return quota
	case "resourcesExceeded": // most often memory, which no wait brings
		if strings.Contains(message, "Too many DML statements") {
			return quota
		}
	}
	return fatal
}

func classOfStatus(s *status.Status) class {
	for _, d := range s.Details() {
		e, ok := d.(*storagepb.StorageError)
		if !ok {
			continue
		}
		switch e.GetCode() {
		case storagepb.StorageError_TABLE_NOT_FOUND, storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS:
			return lag
		case storagepb.StorageError_STREAM_NOT_FOUND, storagepb.StorageError_STREAM_FINALIZED, storagepb.StorageError_INVALID_STREAM_STATE,
			storagepb.StorageError_OFFSET_ALREADY_EXISTS, storagepb.StorageError_OFFSET_OUT_OF_RANGE:
			return moved
		}
	}
	switch s.Code() {
	case codes.NotFound:
		return lag
	case codes.ResourceExhausted:
		return quota
	case codes.AlreadyExists, codes.OutOfRange, codes.Aborted, codes.Canceled, codes.Unavailable, codes.Internal, codes.DeadlineExceeded,
		codes.FailedPrecondition, codes.Unknown:
		return moved
	}
	return fatal
}

// passing marks an error of the service, or of the way to it, that ends by itself.
func passing(err error) error {
	if err == nil || !passes(err) {
		return err
	}
	return &passingError{err}
}

func passes(err error) bool {
	_, ofWrites := status.FromError(err)
	said := ofWrites || errors.As(err, new(*jobError)) || errors.As(err, new(*googleapi.Error)) || errors.As(err, new(net.Error))
	c := classOf(err)
	return errors.Is(err, errPatience) || said && c != fatal && c != fenced
}

// passingError says what it wraps.
type passingError struct{ err error }

func (e *passingError) Error() string   { return e.err.Error() }
func (e *passingError) Unwrap() []error { return []error{e.err, warehouse.ErrUnavailable} }

// isCredentials reports whether no token was had for the credentials.
func isCredentials(err error) bool {
	var e *auth.Error
	return errors.As(err, &e) && !e.Temporary()
}

// isForeign reports whether what answered is no BigQuery: a proxy, or a server
// at a mistyped address. The service gives a reason with every refusal.
func isForeign(err error) bool {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return true
	}
	var e *googleapi.Error
	return errors.As(err, &e) && len(e.Errors) == 0 && e.Message == "" && e.Code < http.StatusInternalServerError && e.Code != http.StatusTooManyRequests
}

// isMissing reports whether the service said that a thing is not there. A project
// that is not there is another matter: then nothing is known of the thing.
func isMissing(err error) bool {
	return isStatus(err, http.StatusNotFound) && !isForeign(err) && !isNoProject(err)
}

func isNoProject(err error) bool {
	var e *googleapi.Error
	return errors.As(err, &e) && strings.HasPrefix(e.Message, "Not found: Project")
}

// isStatus reports whether the call was answered with the HTTP status.
func isStatus(err error, code int) bool {
	var e *googleapi.Error
	return errors.As(err, &e) && e.Code == code
}

// isEnd reports whether there is no more.
func isEnd(err error) bool { return errors.Is(err, io.EOF) }
