package bigquery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/bigquery/storage/managedwriter"
	"github.com/prometheus/client_golang/prometheus"
	api "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"millrace/internal/fault"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

var _ warehouse.Warehouse = (*Warehouse)(nil)

// Options are what Open can be told. Project and Location are required: a job
// whose reply is lost can be found again only where it was made.
type Options struct {
	Project  string
	Location string // of the datasets and of every job, such as EU
	// MaxBytesBilled fails a job that would read more, before it costs anything.
	// Zero: no cap.
	MaxBytesBilled int64
	// Attempts is how many jobs are made for one load, each after the one
	// before was seen to have ended. Zero: 6.
	Attempts int
	// CallTimeout bounds one call. Zero: 30 s.
	CallTimeout time.Duration
	// AppendTimeout bounds the sending of a request of rows, and the wait for its
	// answer. Zero: 1 min, in which a line of 2.5 Mbit/s brings the largest.
	AppendTimeout time.Duration
	// SchemaWait is how long a staging table that was just made may be unknown
	// to the write path. Zero: 10 min.
	SchemaWait time.Duration
	// RetryWait is the first pause before something is tried again; it doubles up
	// to a hundredfold. Zero: 500 ms.
	RetryWait time.Duration
	// Patience is how long one call waits for a quota, for an answer or for another
	// transaction before it returns an error: then others see what it waits for. Zero: 2 min.
	Patience time.Duration

	// RequestBytes bounds a request of the write path. Zero: 18 MiB, which is
	// near to what the service takes.
	RequestBytes int

	// Endpoints stand in for Google's; none: Google's.
	Endpoints Endpoints

	// Jobs and Writes configure the clients of the two APIs.
	Jobs   []option.ClientOption
	Writes []option.ClientOption

	Registerer prometheus.Registerer // nil: no metrics
	Logger     *slog.Logger          // nil: silent
	Fault      fault.Hook            // for tests
}

// Endpoints are where the two APIs are.
type Endpoints struct {
	Jobs   string // a URL; one of http: has neither TLS nor credentials
	Writes string // host:port, likewise
}

func (e Endpoints) options() (jobs, writes []option.ClientOption) {
	if e == (Endpoints{}) {
		return nil, nil
	}
	// Without the slash, the client takes the last element for a file beside its own.
	jobs, writes = append(jobs, option.WithEndpoint(strings.TrimSuffix(e.Jobs, "/")+"/")), append(writes, option.WithEndpoint(e.Writes))
	if strings.HasPrefix(e.Jobs, "http:") {
		jobs = append(jobs, option.WithoutAuthentication())
		writes = append(writes, option.WithoutAuthentication(), option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	}
	return jobs, writes
}

func (o Options) withDefaults() Options {
	jobs, writes := o.Endpoints.options()
	o.Jobs, o.Writes = append(jobs, o.Jobs...), append(writes, o.Writes...)
	if o.Attempts <= 0 {
		o.Attempts = 6
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = 30 * time.Second
	}
	if o.AppendTimeout <= 0 {
		o.AppendTimeout = time.Minute
	}
	if o.SchemaWait <= 0 {
		o.SchemaWait = 10 * time.Minute
	}
	if o.RetryWait <= 0 {
		o.RetryWait = 500 * time.Millisecond
	}
	if o.Patience <= 0 {
		o.Patience = 2 * time.Minute
	}
	if o.RequestBytes <= 0 {
		o.RequestBytes = maxRequest
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Warehouse is a project's datasets. Its methods may be called at the same time.
type Warehouse struct {
	opts    Options
	dialect *sqlgen.Dialect
	jobs    *api.Service // without the retries of the client above it, which know no end
	writes  *managedwriter.Client
	metrics *metrics
	updates *updates
	clock   clock
	listed  int64  // how many tables a page of a list has
	session string // makes the ids of this process's jobs its own
	files   fileRules

	mu     sync.Mutex // tables
	tables map[string]*table
	counts map[string]*counted

	life     context.Context    // of what counts rows for people; a count begins while it is, under mu
	stop     context.CancelFunc // under mu
	counting sync.WaitGroup

	requests sync.Pool // of *request: memory for the next one, until the collector wants it
}

// Open makes the clients. It reads nothing: a wrong project or a missing role
// is seen by the first call that needs it.
func Open(ctx context.Context, opts Options) (*Warehouse, error) {
	opts = opts.withDefaults()
	if opts.Project == "" {
		return nil, errors.New("open BigQuery: no project is given")
	}
	if opts.Location == "" {
		return nil, errors.New("open BigQuery: no location is given: say where its datasets are or are to be, such as EU or europe-west1")
	}
	w := &Warehouse{opts: opts, dialect: sqlgen.BigQuery(), updates: newUpdates(), listed: tablesAtOnce, session: randomID(), files: fileDefaults(), tables: map[string]*table{}, counts: map[string]*counted{}}
	w.life, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if w.metrics, err = newMetrics(opts.Registerer); err != nil {
		return nil, fmt.Errorf("register metrics of project %s: %w", opts.Project, err)
	}
	if w.jobs, err = api.NewService(ctx, append([]option.ClientOption{option.WithScopes(api.BigqueryScope)}, opts.Jobs...)...); err != nil {
		return nil, withHint(fmt.Errorf("open BigQuery in project %s: %w", opts.Project, err), hintCredentials)
	}
	// The writer's connections live as long as the warehouse, not as long as the
	// call that opened it.
	if w.writes, err = managedwriter.NewClient(context.WithoutCancel(ctx), opts.Project, append(bounded(opts.CallTimeout, opts.AppendTimeout), opts.Writes...)...); err != nil {
		return nil, withHint(fmt.Errorf("open BigQuery's writer in project %s: %w", opts.Project, err), hintCredentials)
	}
	return w, nil
}

// Close ends the streams. Loads must have ended.
func (w *Warehouse) Close() error {
	w.mu.Lock()
	w.stop() // no count begins behind this
	w.mu.Unlock()
	w.counting.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tables {
		t.takeStream().close()
	}
	if err := w.writes.Close(); err != nil {
		return fmt.Errorf("close BigQuery in project %s: %w", w.opts.Project, err)
	}
	return nil
}
