package bigqueryfake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Options are how the fake is to be. The zero value serves.
type Options struct {
	Project  string // default "test-project"
	Location string // of jobs and datasets that name none; default "US"
	// SchemaDelay is how long, by the fake's clock, the write path does not take
	// a new column of a table that was there.
	SchemaDelay time.Duration
	// TableDelay is how long, by the fake's clock, the write path does not know a
	// new table.
	TableDelay time.Duration
	// TableUpdates bounds the changes of one table's definition in 10 s of the
	// fake's clock; the service's bound is 5. Zero: no bound.
	TableUpdates int
	// PageBytes is about how much of a result one reply holds; default 10 MiB.
	PageBytes int
	// Discard makes the write path check and count rows, and keep none: a sink
	// for measurements. Every ASSERT holds then: what it counts is not there.
	Discard bool
}

// Fake is a running fake. It is safe for concurrent use.
type Fake struct {
	opts   Options
	db     *sql.DB
	http   *http.Server
	grpc   *grpc.Server
	url    string
	addr   string
	cancel context.CancelFunc
	ctx    context.Context // of jobs
	work   sync.WaitGroup
	faults faults

	// ddl is held by what changes tables, and shared by what writes rows: DuckDB
	// fails a write whose table is altered meanwhile.
	ddl sync.RWMutex

	mu       sync.Mutex
	changed  *sync.Cond // of mu: a table was set free, or a job canceled
	skew     time.Duration
	datasets map[string]*dataset
	jobs     map[string]*job
	requests map[string]*job // by the request id of jobs.query
	streams  map[string]*stream
	uploads  map[string]*upload // a client has one request at a time of each
	serial   int64              // numbers tables, streams and commits
}

// Start starts a fake. Close ends it.
func Start(ctx context.Context, opts Options) (*Fake, error) {
	if opts.Project == "" {
		opts.Project = "test-project"
	}
	if opts.Location == "" {
		opts.Location = "US"
	}
	if opts.PageBytes == 0 {
		opts.PageBytes = 10 << 20
	}
	db, err := openStore(context.WithoutCancel(ctx)) // connections are made as long as the fake runs
	if err != nil {
		return nil, fmt.Errorf("start the BigQuery fake: %w", err)
	}
	f := &Fake{
		opts: opts, db: db,
		datasets: map[string]*dataset{}, jobs: map[string]*job{}, requests: map[string]*job{}, streams: map[string]*stream{}, uploads: map[string]*upload{},
	}
	f.changed = sync.NewCond(&f.mu)
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	rest, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the BigQuery fake: %w", err), db.Close())
	}
	write, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the BigQuery fake: %w", err), rest.Close(), db.Close())
	}
	f.url, f.addr = "http://"+rest.Addr().String()+"/bigquery/v2/", write.Addr().String()
	f.http = &http.Server{Handler: f.handler(), ReadHeaderTimeout: time.Minute}
	// The service's limit is checked by the handler, with the service's words.
	f.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(4 * maxAppend))
	storagepb.RegisterBigQueryWriteServer(f.grpc, &writeServer{Fake: f})
	f.work.Go(func() { _ = f.http.Serve(rest) }) // returns when Close closes it
	f.work.Go(func() { _ = f.grpc.Serve(write) })
	return f, nil
}

// Close ends the fake and all that it holds.
func (f *Fake) Close() error {
	f.cancel()
	f.mu.Lock()
	f.changed.Broadcast()
	f.mu.Unlock()
	f.faults.release()
	err := f.http.Close()
	f.grpc.Stop()
	f.work.Wait()
	return errors.Join(err, f.db.Close())
}

// URL is the endpoint of the REST API.
func (f *Fake) URL() string { return f.url }

// GRPCAddr is host and port of the Storage Write API.
func (f *Fake) GRPCAddr() string { return f.addr }

// Project is the one project that the fake knows.
func (f *Fake) Project() string { return f.opts.Project }

// ClientOptions let bigquery.NewClient connect.
func (f *Fake) ClientOptions() []option.ClientOption {
	return []option.ClientOption{option.WithEndpoint(f.url), option.WithoutAuthentication()}
}

// WriteOptions let managedwriter.NewClient connect.
func (f *Fake) WriteOptions() []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(f.addr),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

// Skew moves the fake's clock against the machine's. What expires, expires by
// the fake's clock.
func (f *Fake) Skew(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.skew = d
}

// Now is the fake's time.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now()
}

func (f *Fake) now() time.Time { return time.Now().Add(f.skew).UTC() }

// next numbers what needs a number. f.mu is held.
func (f *Fake) next() int64 {
	f.serial++
	return f.serial
}
