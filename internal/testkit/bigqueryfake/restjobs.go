package bigqueryfake

import (
	"database/sql"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	bq "google.golang.org/api/bigquery/v2"
)

func (f *Fake) insertJob(r *request) (any, *apiError) {
	var in bq.Job
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	j, err := f.insert(in.JobReference, in.Configuration, nil)
	if err != nil {
		return nil, err
	}
	if j.config.DryRun {
		<-j.done
		if j.err != nil {
			return nil, j.err
		}
	}
	return f.jobOf(j), nil
}

// findJob finds the job that a request names. Jobs outside of the US are found
// only with their location.
func (f *Fake) findJob(r *request) (*job, *apiError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, location := r.PathValue("job"), r.URL.Query().Get("location")
	j := f.jobs[id]
	if j == nil || location != "" && !strings.EqualFold(location, j.location) || location == "" && j.location != "US" && j.location != "EU" {
		return nil, notFound("Job %s:%s", f.opts.Project, id)
	}
	return j, nil
}

func (f *Fake) getJob(r *request) (any, *apiError) {
	j, err := f.findJob(r)
	if err != nil {
		return nil, err
	}
	return f.jobOf(j), nil
}

func (f *Fake) cancelJob(r *request) (any, *apiError) {
	j, err := f.findJob(r)
	if err != nil {
		return nil, err
	}
	j.cancel()
	return &bq.JobCancelResponse{Kind: "bigquery#jobCancelResponse", Job: f.jobOf(j)}, nil
}

// jobOf is the job as the REST API has it.
func (f *Fake) jobOf(j *job) *bq.Job {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &bq.Job{
		Kind: "bigquery#job", Configuration: j.config, UserEmail: "someone@example.com",
		Id:           fmt.Sprintf("%s:%s.%s", f.opts.Project, j.location, j.id),
		JobReference: &bq.JobReference{ProjectId: f.opts.Project, JobId: j.id, Location: j.location},
		Status:       &bq.JobStatus{State: "RUNNING"},
		Statistics:   &bq.JobStatistics{CreationTime: j.created.UnixMilli(), StartTime: j.started.UnixMilli()},
	}
	if j.ended.IsZero() {
		return out
	}
	out.Status.State = "DONE"
	if j.err != nil {
		out.Status.ErrorResult, out.Status.Errors = j.err.proto(), []*bq.ErrorProto{j.err.proto()}
	}
	out.Statistics.EndTime = j.ended.UnixMilli()
	out.Statistics.TotalBytesProcessed = j.bytes
	out.Statistics.TotalSlotMs = 1 + j.ended.Sub(j.started).Milliseconds()
	if j.stats.kind == "SCRIPT" {
		out.Statistics.NumChildJobs = j.stats.statements
	}
	if j.config.Load != nil {
		out.Statistics.Load = &bq.JobStatistics3{InputFiles: 1, InputFileBytes: int64(len(j.media)), OutputRows: j.affected}
		return out
	}
	out.Statistics.Query = f.queryStatistics(j)
	return out
}

func (f *Fake) queryStatistics(j *job) *bq.JobStatistics2 {
	q := &bq.JobStatistics2{
		StatementType: j.stats.kind, TotalBytesProcessed: j.bytes, NumDmlAffectedRows: j.affected,
		TotalBytesBilled: billed(j.bytes, len(j.stats.referenced)), TotalSlotMs: 1 + j.ended.Sub(j.started).Milliseconds(),
		DmlStats: &bq.DmlStatistics{InsertedRowCount: j.stats.inserted, UpdatedRowCount: j.stats.updated, DeletedRowCount: j.stats.deleted},
	}
	if j.config.DryRun {
		q.TotalBytesBilled = 0
	}
	seen := map[*table]bool{}
	for _, t := range j.stats.referenced {
		if !seen[t] && len(q.ReferencedTables) < 50 {
			q.ReferencedTables = append(q.ReferencedTables, &bq.TableReference{ProjectId: f.opts.Project, DatasetId: t.dataset, TableId: t.id})
		}
		seen[t] = true
	}
	if j.result != nil {
		q.Schema = schemaOf(j.result.columns)
	}
	return q
}

// defaultWait is how long the service waits for a query before it answers that
// it is not done.
const defaultWait = 10 * time.Second

func (f *Fake) wait(r *request, j *job, timeout time.Duration) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-j.done:
		return true
	default:
	}
	select {
	case <-j.done:
		return true
	case <-timer.C:
	case <-r.Context().Done():
	case <-f.faults.done():
	}
	return false
}

func (f *Fake) queryJob(r *request) (any, *apiError) {
	var in bq.QueryRequest
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	j, err := f.queryFor(&in)
	if err != nil {
		return nil, err
	}
	timeout := defaultWait
	if in.TimeoutMs > 0 {
		timeout = time.Duration(in.TimeoutMs) * time.Millisecond
	}
	out := &bq.QueryResponse{Kind: "bigquery#queryResponse", JobReference: &bq.JobReference{ProjectId: f.opts.Project, JobId: j.id, Location: j.location}}
	if !f.wait(r, j, timeout) {
		return out, nil
	}
	if j.err != nil {
		return nil, j.err
	}
	out.JobComplete, out.TotalBytesProcessed, out.NumDmlAffectedRows = true, j.bytes, j.affected
	if j.result != nil {
		micros := in.FormatOptions != nil && in.FormatOptions.UseInt64Timestamp
		out.Schema, out.TotalRows = schemaOf(j.result.columns), uint64(len(j.result.rows))
		out.Rows, out.PageToken = j.result.page(0, in.MaxResults, micros, f.opts.PageBytes)
	}
	return out, nil
}

// queryFor starts the job of jobs.query, or finds the one that the same request
// has started before.
func (f *Fake) queryFor(in *bq.QueryRequest) (*job, *apiError) {
	f.mu.Lock()
	j := f.requests[in.RequestId]
	f.mu.Unlock()
	if in.RequestId != "" && j != nil {
		return j, nil
	}
	config := &bq.JobConfiguration{DryRun: in.DryRun, Labels: in.Labels, Query: &bq.JobConfigurationQuery{
		Query: in.Query, UseLegacySql: in.UseLegacySql, QueryParameters: in.QueryParameters, DefaultDataset: in.DefaultDataset,
		MaximumBytesBilled: in.MaximumBytesBilled,
	}}
	if in.CreateSession {
		config.Query.CreateSession = true
	}
	j, err := f.insert(&bq.JobReference{Location: in.Location}, config, nil)
	if err == nil && in.RequestId != "" {
		f.mu.Lock()
		f.requests[in.RequestId] = j
		f.mu.Unlock()
	}
	return j, err
}

func (f *Fake) queryResults(r *request) (any, *apiError) {
	j, err := f.findJob(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	timeout := defaultWait
	if ms, err := strconv.ParseInt(query.Get("timeoutMs"), 10, 64); err == nil {
		timeout = time.Duration(ms) * time.Millisecond
	}
	out := &bq.GetQueryResultsResponse{Kind: "bigquery#getQueryResultsResponse", JobReference: &bq.JobReference{ProjectId: f.opts.Project, JobId: j.id, Location: j.location}}
	if !f.wait(r, j, timeout) {
		return out, nil
	}
	if j.err != nil {
		return nil, j.err
	}
	out.JobComplete, out.TotalBytesProcessed, out.NumDmlAffectedRows = true, j.bytes, j.affected
	if j.result == nil {
		out.Schema = schemaOf(nil)
		return out, nil
	}
	start, most, api := paging(r)
	if api != nil {
		return nil, api
	}
	out.Schema, out.TotalRows = schemaOf(j.result.columns), uint64(len(j.result.rows))
	if query.Get("maxResults") != "0" {
		out.Rows, out.PageToken = j.result.page(start, most, query.Get("formatOptions.useInt64Timestamp") == "true", f.opts.PageBytes)
	}
	return out, nil
}

func paging(r *request) (start int, most int64, err *apiError) {
	query := r.URL.Query()
	for _, name := range []string{"pageToken", "startIndex"} {
		if text := query.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 {
				return 0, 0, &apiError{http.StatusBadRequest, "invalid", "Invalid value for " + name}
			}
			start = n
			break
		}
	}
	if text := query.Get("maxResults"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return 0, 0, invalid("Invalid value for maxResults")
		}
		most = n
	}
	return start, most, nil
}

// page is the rows from start on, and the token of the next page.
func (r *result) page(start int, most int64, micros bool, pageBytes int) (rows []*bq.TableRow, token string) {
	size := 0
	for at := start; at < len(r.rows); at++ {
		if most > 0 && int64(at-start) >= most || size > pageBytes {
			return rows, strconv.Itoa(at)
		}
		row := &bq.TableRow{}
		for i, v := range r.rows[at] {
			row.F = append(row.F, cell(r.columns[i].typ, v, micros))
			size += len(v.String)
		}
		rows = append(rows, row)
	}
	return rows, ""
}

func cell(typ columnType, v sql.NullString, micros bool) *bq.TableCell {
	if !v.Valid {
		return &bq.TableCell{}
	}
	if typ.nested() {
		value, err := nestedCell(typ, v.String, micros)
		if err != nil {
			return &bq.TableCell{V: err.Error()} // of a text that restValue wrote
		}
		return &bq.TableCell{V: value}
	}
	if typ.name == "TIMESTAMP" && !micros {
		if us, err := strconv.ParseInt(v.String, 10, 64); err == nil {
			return &bq.TableCell{V: strconv.FormatFloat(float64(us)/1e6, 'E', -1, 64)}
		}
	}
	return &bq.TableCell{V: v.String}
}
