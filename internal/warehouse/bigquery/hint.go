package bigquery

import (
	"errors"
	"net/http"
	"regexp"
	"strings"

	"google.golang.org/api/googleapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"millrace/internal/warehouse/sqlgen"
)

// What a person can do. docs/runbooks/bigquery.md quotes these texts.
const (
	hintRenew       = "renew the credentials of this process (GOOGLE_APPLICATION_CREDENTIALS, or the workload's account), and see that its clock is right"
	hintCredentials = "let GOOGLE_APPLICATION_CREDENTIALS name the key file of a service account, or run where the workload has an account"
	hintGrant       = "grant roles/bigquery.dataEditor on the datasets, or on the project if Millrace is to make them"
	hintJobUser     = "grant roles/bigquery.jobUser on the project"
	hintProject     = "check warehouse.project"
	hintLocation    = "let warehouse.location be where the datasets are (bq show says it): a dataset cannot be moved"
	hintEnable      = "enable the BigQuery API in the project"
	hintBilling     = "enable billing for the project: without it no statement can change rows"
	hintEndpoint    = "what answers is not BigQuery: check warehouse.endpoints, and the proxy of this machine"
	hintReach       = "BigQuery cannot be reached: check the network and warehouse.endpoints; it is tried again until it can"
	hintOutage      = "the service has trouble: it is tried again until it answers"
	hintQuota       = "nothing is lost, and it is tried again until the quota has room: see the project's quotas"
	hintCap         = "raise warehouse.max_bytes_billed, or load and run less often"
	hintMemory      = "the statement needs more memory than the service gives it: let a run compute fewer or smaller windows"
	hintPartitions  = "a table has at most 10,000 days of its first event_time, and a load or run 4,000: list another column first, or none, and load into another table with as:; let a run compute fewer windows"
	hintLength      = "capture fewer columns of the table, or let a run compute fewer windows"
	hintGone        = "it was dropped or renamed by hand: bring it back as it was, with bq cp from a time before that"
	hintColumn      = "if it was changed by hand, bring the table back as it was, with bq cp from a time before that"
	hintRead        = "grant roles/bigquery.dataViewer on the datasets that the query reads, or on the project"
	hintViewJobs    = "grant roles/bigquery.resourceViewer on the project: these views of INFORMATION_SCHEMA tell of the jobs of all"
	hintNames       = "check the names in the query: tables are read where warehouse.location is, and millrace status names those of Millrace"
	hintReadCap     = "raise warehouse.max_bytes_billed, or let the query read fewer columns and days"
	hintStage       = "staged rows are gone: it is tried again; if it fails for long, see that this machine's clock is right"
)

// cure adds what a person can do to an error that only a person can end.
func cure(err error) error {
	var has *curedError
	if errors.As(err, &has) {
		return err
	}
	if hint := hintOf(err); hint != "" {
		return &curedError{err, hint}
	}
	return err
}

// cureRead adds to the error of a person's query what that person can do: whoever
// only reads needs other roles than Millrace, and has changed no table by hand.
func cureRead(err error) error {
	hint := hintOf(err)
	switch hint {
	case hintGrant:
		hint = hintRead
		if viewsOfJobs.MatchString(err.Error()) {
			hint = hintViewJobs
		}
	case hintGone, hintLocation:
		hint = hintNames
	case hintCap:
		hint = hintReadCap
	case hintColumn, hintMemory, hintPartitions, hintLength:
		return err // the service has said it all
	}
	var has *curedError
	if hint == "" || errors.As(err, &has) {
		return err
	}
	return &curedError{err, hint}
}

// viewsOfJobs are the views of a region that dataset roles do not open.
var viewsOfJobs = regexp.MustCompile("INFORMATION_SCHEMA[`.]+(?:JOBS|RESERVATION|CAPACITY|ASSIGNMENT|SESSIONS|STREAMING|WRITE_API)")

// dialing is in the error of a connection that was not made.
const dialing = "while dialing"

// withHint is the error with what to do.
func withHint(err error, hint string) error { return &curedError{err, hint} }

func hintOf(err error) string {
	var call *googleapi.Error
	var job *jobError
	switch {
	case isCredentials(err):
		return hintRenew
	case isForeign(err):
		return hintEndpoint
	case isTooLong(err):
		return hintLength
	case errors.As(err, &job):
		return hintOfRefusal(job.reason, job.message)
	case errors.As(err, &call):
		return hintOfCall(call)
	}
	switch s, _ := status.FromError(err); s.Code() {
	case codes.Unauthenticated:
		return hintRenew
	case codes.PermissionDenied:
		return hintGrant
	case codes.ResourceExhausted:
		return hintQuota
	case codes.Unavailable:
		if !strings.Contains(s.Message(), dialing) {
			return hintOutage
		}
		return hintReach
	case codes.DeadlineExceeded:
		return hintReach
	}
	if errors.Is(err, errPatience) {
		return hintReach
	}
	return ""
}

func hintOfCall(e *googleapi.Error) string {
	reason := ""
	if len(e.Errors) > 0 {
		reason = e.Errors[0].Reason
	}
	if hint := hintOfRefusal(reason, e.Message); hint != "" {
		return hint
	}
	switch e.Code {
	case http.StatusForbidden:
		return hintGrant
	case http.StatusUnauthorized:
		return hintRenew
	}
	switch classOfCall(e) {
	case quota:
		return hintQuota
	case unknown:
		return hintOutage
	}
	return ""
}

// hintOfRefusal goes by what the service says, of a call or of a job.
func hintOfRefusal(reason, message string) string {
	says := func(parts ...string) bool {
		for _, p := range parts {
			if !strings.Contains(message, p) {
				return false
			}
		}
		return true
	}
	switch {
	case reason == "authError":
		return hintRenew
	case says("Too many partitions"), says("artitions", "10000"), says("artitions", "10,000"):
		return hintPartitions
	case says("bigquery.jobs.create"):
		return hintJobUser
	case reason == "accessNotConfigured", says("API has not been used"):
		return hintEnable
	case reason == "billingNotEnabled", says("illing has not been enabled"):
		return hintBilling
	case reason == "accessDenied":
		return hintGrant
	case reason == "bytesBilledLimitExceeded":
		return hintCap
	case says("Not found: Dataset", "was not found in location"), says("Already Exists: Dataset"):
		return hintLocation
	case says("Not found: Project"), says("nvalid project"):
		return hintProject
	case says("Not found: Table"), says("Not found: Dataset"):
		return hintGone
	case says(sqlgen.ReasonLost):
		return hintStage
	case says("Unrecognized name"), says("recently deleted"), says("Column", "not present in table"), says("has type", "cannot be"):
		return hintColumn
	case reason == "resourcesExceeded" && classOfReason(reason, message) == fatal:
		return hintMemory
	case classOfReason(reason, message) == quota:
		return hintQuota
	}
	return ""
}

// curedError is an error with what to do.
type curedError struct {
	err  error
	hint string
}

func (e *curedError) Error() string { return e.err.Error() + ": " + e.hint }
func (e *curedError) Unwrap() error { return e.err }
