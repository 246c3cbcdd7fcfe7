package bigqueryfake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	bq "google.golang.org/api/bigquery/v2"
)

const (
	maxQueryText = 1 << 20
	minBilled    = 10 << 20 // bytes, for each table of a statement
)

// job is a job. Fake.mu guards what changes.
type job struct {
	id, location string
	config       *bq.JobConfiguration
	media        []byte // the file of a load job
	created      time.Time
	started      time.Time
	ended        time.Time // zero: not yet
	err          *apiError
	result       *result
	affected     int64
	stats        statistics
	bytes        int64
	done         chan struct{}
	cancel       context.CancelFunc
}

// insert starts a job, unless there is one of its id.
func (f *Fake) insert(ref *bq.JobReference, config *bq.JobConfiguration, media []byte) (*job, *apiError) {
	var fault *apiError
	switch {
	case config != nil && config.Query != nil:
		config.JobType, fault = "QUERY", checkQuery(config.Query)
	case config != nil && config.Load != nil && media != nil:
		config.JobType, fault = "LOAD", checkLoad(config.Load)
	default:
		fault = refused("jobs other than queries and load jobs with their file are not in its set")
	}
	if fault != nil {
		return nil, fault
	}
	if ref != nil && ref.JobId != "" && !jobName.MatchString(ref.JobId) {
		return nil, invalid("Invalid job ID %q", ref.JobId)
	}
	if err := checkLabels(config.Labels); err != nil {
		return nil, err
	}
	j := &job{config: config, media: media, location: f.opts.Location, done: make(chan struct{})}
	if ref != nil {
		j.id = ref.JobId
		if ref.Location != "" {
			j.location = ref.Location
		}
	}
	ctx, cancel := context.WithCancel(f.ctx)
	if ms := config.JobTimeoutMs; ms > 0 {
		ctx, cancel = context.WithTimeout(f.ctx, time.Duration(ms)*time.Millisecond)
	}
	j.cancel = cancel
	f.mu.Lock()
	defer f.mu.Unlock()
	if j.id == "" {
		j.id = fmt.Sprintf("job_%08d", f.next())
	}
	if f.jobs[j.id] != nil {
		cancel()
		return nil, duplicate("Job %s:%s.%s", f.opts.Project, j.location, j.id)
	}
	j.created = f.now()
	j.started = j.created
	if config.DryRun {
		j.id = ""
	} else {
		f.jobs[j.id] = j
	}
	f.work.Go(func() { f.runJob(ctx, j) })
	return j, nil
}

var (
	jobName   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,1000}$`)
	labelName = regexp.MustCompile(`^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelText = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
)

// checkLabels refuses labels of a job or a table as the service does.
func checkLabels(labels map[string]string) *apiError {
	if len(labels) > 64 {
		return invalid("%d labels; the most are 64", len(labels))
	}
	for name, text := range labels {
		if !labelName.MatchString(name) || !labelText.MatchString(text) {
			return invalid("Label %q: %q: only lowercase letters, numeric characters, underscores and dashes are allowed, at most 63", name, text)
		}
	}
	return nil
}

func checkQuery(q *bq.JobConfigurationQuery) *apiError {
	switch {
	case len(q.Query) > maxQueryText:
		return invalid("The query is too large. The maximum standard SQL query length is %d KB, including comments and white space characters.", maxQueryText/1024)
	case q.UseLegacySql == nil || *q.UseLegacySql:
		return refused("legacy SQL is not in its set; set useLegacySql to false")
	case len(q.TableDefinitions) > 0, len(q.ConnectionProperties) > 0, q.CreateSession:
		return refused("external tables and sessions are not in its set")
	}
	return nil
}

// runJob runs a job to its end.
func (f *Fake) runJob(ctx context.Context, j *job) {
	defer j.cancel()
	err := f.runFaulty(ctx, j)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			err = &apiError{http.StatusBadRequest, "timeout", "Operation timed out"}
		case ctx.Err() != nil:
			err = errStopped
		}
		j.err = apiErrorOf(err)
	}
	j.ended = f.now()
	close(j.done)
	f.changed.Broadcast()
}

// runFaulty runs a job with its fault.
func (f *Fake) runFaulty(ctx context.Context, j *job) (err error) {
	var fault Fault
	if !j.config.DryRun {
		fault = f.faults.at("job")
	}
	switch fault.kind {
	case faultFail, faultRefuse:
		return fault.api
	case faultHang:
		if err := f.hang(ctx, fault); err != nil {
			return err
		}
	}
	if j.config.Load != nil {
		err = f.runLoad(ctx, j)
	} else {
		err = f.runQuery(ctx, j)
	}
	if err == nil && fault.kind == faultFailLate {
		return fault.api
	}
	return err
}

func (f *Fake) runQuery(ctx context.Context, j *job) (err error) {
	if err := f.locate(j); err != nil {
		return err
	}
	if err := f.expire(ctx); err != nil {
		return err
	}
	steps, err := parseScript(j.config.Query.Query)
	if err != nil {
		return err
	}
	s := &session{Fake: f, text: j.config.Query.Query, vars: map[string]*variable{}, temps: map[string]*table{}}
	if d := j.config.Query.DefaultDataset; d != nil {
		s.defaults = d.DatasetId
	}
	if s.params, err = parameters(j.config.Query.QueryParameters); err != nil {
		return err
	}
	if s.conn, err = f.db.Conn(ctx); err != nil {
		return err
	}
	defer s.conn.Close() // with the transaction and the temporary tables
	defer s.end(false)
	most := j.config.Query.MaximumBytesBilled
	if len(steps) > 1 && !j.config.DryRun {
		s.most = most
	} else if j.config.DryRun || most > 0 {
		if err := s.estimate(ctx, j, steps); err != nil || j.config.DryRun {
			return err
		}
	}
	err = s.run(ctx, steps)
	if err == nil && j.config.Query.DestinationTable != nil {
		if len(steps) > 1 || s.last == nil {
			return invalid("configuration.query.destinationTable cannot be set for scripts")
		}
		err = s.deliver(ctx, j.config.Query)
	}
	if err == nil && s.txn != nil {
		err = invalidQuery("The script ended with an active transaction")
	}
	if s.txn != nil {
		_, _ = s.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // closing it would, too
	}
	if len(steps) > 1 {
		s.stats.kind = "SCRIPT"
	}
	f.mu.Lock()
	j.result, j.affected, j.stats = s.last, s.affected, s.stats
	f.mu.Unlock()
	if size, sizeErr := f.bytes(ctx, s.stats.referenced); sizeErr == nil {
		f.mu.Lock()
		j.bytes = size
		f.mu.Unlock()
	}
	return err
}

// locate refuses a job that runs where its tables are not.
func (f *Fake) locate(j *job) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.datasets {
		if strings.EqualFold(d.location, j.location) {
			continue
		}
		if strings.Contains(j.config.Query.Query, "`"+d.id+"`.") || strings.Contains(j.config.Query.Query, d.id+".") {
			return notFound("Dataset %s:%s was not found in location %s", f.opts.Project, d.id, j.location)
		}
	}
	return nil
}

// estimate finds out what a query reads, and of which kind it is, without
// running it.
func (s *session) estimate(ctx context.Context, j *job, steps []step) error {
	for _, at := range steps {
		if at.condition != nil {
			continue
		}
		kind := strings.ToUpper(at.nodes[0].text)
		s.stats.kind = kind
		if at.nodes[0].group() || kind == "SELECT" || kind == "WITH" {
			s.stats.kind = "SELECT"
			text, err := s.translator().statement(at.nodes)
			if err != nil {
				return err
			}
			columns, err := s.describe(ctx, text)
			if err != nil {
				return err
			}
			j.result = &result{columns: columns}
		}
	}
	if len(steps) > 1 {
		s.stats.kind = "SCRIPT"
	}
	size, err := s.bytes(ctx, s.stats.referenced)
	if err != nil {
		return err
	}
	s.mu.Lock()
	j.bytes, j.stats = size, s.stats
	s.mu.Unlock()
	if most := j.config.Query.MaximumBytesBilled; !j.config.DryRun {
		if err := overCap(most, billed(size, len(s.stats.referenced))); err != nil {
			return err
		}
	}
	s.stats = statistics{}
	return nil
}

// capped refuses to go on with a script whose statements have cost too much.
func (s *session) capped(ctx context.Context) error {
	if s.most == 0 {
		return nil
	}
	size, err := s.bytes(ctx, s.stats.referenced)
	if err != nil {
		return err
	}
	return overCap(s.most, billed(size, len(s.stats.referenced)))
}

func overCap(most, bytes int64) error {
	if most == 0 || bytes <= most {
		return nil
	}
	return &apiError{400, "bytesBilledLimitExceeded", fmt.Sprintf("Query exceeded limit for bytes billed: %d. %d or higher required.", most, bytes)}
}

func billed(size int64, tables int) int64 { return max(size, int64(tables)*minBilled) }

// bytes estimates what reading the tables costs.
func (f *Fake) bytes(ctx context.Context, tables []*table) (size int64, err error) {
	for _, t := range tables {
		if t.isView() {
			continue
		}
		n, err := f.count(ctx, t)
		if err != nil {
			return 0, err
		}
		size += n * 8 * int64(len(f.columnsOfTable(t)))
	}
	return size, nil
}

// count is the number of a table's rows.
func (f *Fake) count(ctx context.Context, t *table) (n int64, err error) {
	f.ddl.RLock()
	defer f.ddl.RUnlock()
	err = f.db.QueryRowContext(ctx, "SELECT count(*) FROM "+t.physical).Scan(&n)
	return n, err
}

// parameters are a query's parameters as literals of DuckDB.
func parameters(list []*bq.QueryParameter) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range list {
		if p.Name == "" {
			return nil, refused("positional parameters are not in its set")
		}
		typ, value := p.ParameterType, p.ParameterValue
		if typ.Type == "ARRAY" && typ.ArrayType != nil {
			var items []string
			elem, ok := typeNamed(typ.ArrayType.Type)
			if !ok {
				return nil, refused("parameter @%s has a type that is not in its set", p.Name)
			}
			for _, v := range value.ArrayValues {
				items = append(items, "CAST("+quoteText(v.Value)+" AS "+elem.duck()+")")
			}
			out[strings.ToLower(p.Name)] = "CAST([" + strings.Join(items, ", ") + "] AS " + elem.duck() + "[])"
			continue
		}
		scalar, ok := typeNamed(typ.Type)
		if !ok {
			return nil, refused("parameter @%s has type %s, which is not in its set", p.Name, typ.Type)
		}
		out[strings.ToLower(p.Name)] = parameter(scalar, value)
	}
	return out, nil
}

func parameter(typ columnType, value *bq.QueryParameterValue) string {
	if value == nil || value.Value == "" && contains(value.NullFields, "Value") {
		return "CAST(NULL AS " + typ.duck() + ")"
	}
	if typ.name == "BYTES" {
		return "from_base64(" + quoteText(value.Value) + ")"
	}
	if typ.name == "JSON" {
		return "bq_parse_json(" + quoteText(value.Value) + ")"
	}
	return "CAST(" + quoteText(value.Value) + " AS " + typ.duck() + ")"
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}
