package mongofake

import "fmt"

// commandError is what a command is answered with that fails.
type commandError struct {
	code    int
	name    string
	message string
	labels  []string
}

func (e *commandError) Error() string { return fmt.Sprintf("%s (%d): %s", e.name, e.code, e.message) }

const (
	labelTransient    = "TransientTransactionError"
	labelResumable    = "ResumableChangeStreamError"
	labelNotResumable = "NonResumableChangeStreamError"
	labelRetryable    = "RetryableWriteError"
)

func badValue(message string) error {
	return &commandError{code: 2, name: "BadValue", message: message}
}

func notFound(ns string) error {
	return &commandError{code: 26, name: "NamespaceNotFound", message: "ns not found: " + ns}
}

func duplicate(ns string, row *row) *commandError {
	return &commandError{code: 11000, name: "DuplicateKey", message: fmt.Sprintf("E11000 duplicate key error collection: %s index: _id_ dup key: { _id: %s }", ns, row.id)}
}

func historyLost() error {
	return &commandError{
		code: 286, name: "ChangeStreamHistoryLost", labels: []string{labelNotResumable},
		message: "Resume of change stream was not possible, as the resume point may no longer be in the oplog.",
	}
}

func noImage(what string) error {
	return &commandError{
		code: 47, name: "NoMatchingDocument", labels: []string{labelNotResumable},
		message: "Change stream was configured to require a " + what + " for all update, delete and replace events, but the " + what + " was not found for an event",
	}
}

func cursorNotFound(id int64) error {
	return &commandError{code: 43, name: "CursorNotFound", message: fmt.Sprintf("cursor id %d not found", id)}
}

func writeConflict() error {
	return &commandError{
		code: 112, name: "WriteConflict", labels: []string{labelTransient},
		message: "Caused by :: Write conflict during plan execution and yielding is disabled. :: Please retry your operation or multi-document transaction.",
	}
}

func noTransaction(n int64) error {
	return &commandError{
		code: 251, name: "NoSuchTransaction", labels: []string{labelTransient},
		message: fmt.Sprintf("Given transaction number %d does not match any in-progress transactions.", n),
	}
}
