package duckdb

import (
	"fmt"
	"regexp"
	"strings"
)

// HeldError is the reason when another process has the file.
type HeldError struct {
	Holder string // its program and process id, as far as they are known
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("the file is open in %s, and a DuckDB file has one process at a time: end that one first, "+
		"or run everything in one process with millrace up; parts that run apart need warehouse: {kind: bigquery}", e.Holder)
}

var lockHolder = regexp.MustCompile(`Conflicting lock is held in (?:(\S+) )?\(PID (\d+)\)`)

// held is a HeldError for DuckDB's error of a file that is locked.
func held(err error) error {
	if err == nil || !strings.Contains(err.Error(), "Could not set lock on file") {
		return err
	}
	m := lockHolder.FindStringSubmatch(err.Error())
	switch {
	case m == nil:
		return &HeldError{Holder: "another process"}
	case m[1] == "":
		return &HeldError{Holder: "the process " + m[2]}
	}
	return &HeldError{Holder: fmt.Sprintf("the process %s (%s)", m[2], m[1])}
}
