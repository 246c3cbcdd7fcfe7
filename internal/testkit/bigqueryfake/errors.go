package bigqueryfake

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	bq "google.golang.org/api/bigquery/v2"
)

// apiError is an error as the service words it. A job that fails has it in its
// status; a request that fails has it in its body.
type apiError struct {
	code    int
	reason  string
	message string
}

func (e *apiError) Error() string { return e.reason + ": " + e.message }

func (e *apiError) proto() *bq.ErrorProto {
	return &bq.ErrorProto{Reason: e.reason, Message: e.message}
}

func invalidQuery(format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, "invalidQuery", fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, "invalid", fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) *apiError {
	return &apiError{http.StatusNotFound, "notFound", "Not found: " + fmt.Sprintf(format, args...)}
}

func duplicate(format string, args ...any) *apiError {
	return &apiError{http.StatusConflict, "duplicate", "Already Exists: " + fmt.Sprintf(format, args...)}
}

// refused is the error for what the service may well do, but this fake does not.
func refused(format string, args ...any) *apiError {
	return &apiError{http.StatusNotImplemented, "notImplemented", "bigqueryfake: " + fmt.Sprintf(format, args...)}
}

// apiErrorOf words an error of what lies underneath.
func apiErrorOf(err error) *apiError {
	var api *apiError
	if errors.As(err, &api) {
		return api
	}
	text := err.Error()
	first, _, _ := strings.Cut(text, "\n")
	switch {
	case strings.Contains(text, "Out of Range Error"), strings.Contains(text, "Conversion Error"),
		strings.Contains(text, "Invalid Input Error"), strings.Contains(text, "Constraint Error"),
		strings.Contains(text, "Binder Error"), strings.Contains(text, "Parser Error"), strings.Contains(text, "Catalog Error"):
		return invalidQuery("%s", first)
	}
	// Not an internal error: clients would ask again for ever.
	return refused("%s", first)
}

// statusName is the canonical name that goes with an HTTP status.
func statusName(code int) string {
	switch code {
	case http.StatusBadRequest:
		return "INVALID_ARGUMENT"
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusConflict:
		return "ALREADY_EXISTS"
	case http.StatusPreconditionFailed:
		return "FAILED_PRECONDITION"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusNotImplemented:
		return "UNIMPLEMENTED"
	case http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	}
	return "INTERNAL"
}
