package scenario

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/internal/config"
	"millrace/internal/page"
	"millrace/internal/privateserver"
	"millrace/internal/up"
	"millrace/loadtest/child"
	"millrace/loadtest/measure"
	"millrace/loadtest/report"
	"millrace/loadtest/source"
)

// rig is everything that a run has started.
type rig struct {
	Options
	file    *File
	dir     string
	prefix  string
	home    *privateserver.Home
	at      where
	kafka   *realKafka
	broker  *child.Child
	fake    *child.Child
	place   source.Place
	own     bool // the source is a private server, gone in the end
	db      source.Database
	pids    map[string]int // of servers, by name
	result  *report.Result
	closers []func() error // in the order of what they close
}

func newRig(o Options, f *File) (*rig, error) {
	dir, err := os.MkdirTemp("", "millrace-loadtest-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	return &rig{Options: o, file: f, dir: dir, prefix: "lt_" + strings.ToLower(rand.Text()[:8]), pids: map[string]int{}}, nil
}

// close ends everything, the newest first.
func (r *rig) close() error {
	var errs []error
	for _, c := range slices.Backward(r.closers) {
		errs = append(errs, c())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

func (r *rig) onClose(c func() error) { r.closers = append(r.closers, c) }

// watch measures processes until it is ended, at the latest with the rig.
func (r *rig) watch(pids map[string]int) *measure.Watch {
	w := measure.Begin(pids)
	r.onClose(func() error {
		w.Stop()
		return nil
	})
	return w
}

// start starts a child that ends with the rig.
func (r *rig) start(ctx context.Context, name, role string, args, hello any) (*child.Child, error) {
	c, err := child.Start(ctx, r.dir, name, role, args, hello)
	if err != nil {
		return nil, err
	}
	r.onClose(func() error {
		_, err := c.Stop()
		return err
	})
	return c, nil
}

// openKafka starts a broker, and a registry beside it, in processes of their
// own; or it takes those of the configuration.
func (r *rig) openKafka(ctx context.Context) (err error) {
	var args brokerArgs
	switch {
	case r.Config != nil && len(r.Config.Kafka.Brokers) > 0:
		own, err := anywhere(r.Config.Kafka, r.Config.Registry)
		if err != nil {
			return err
		}
		if own.Registry.URL != "" {
			r.at = own
			return nil
		}
		args.Kafka = own.Kafka
	case r.Kafka == RealKafka:
		if r.kafka, err = startKafka(ctx, filepath.Join(r.dir, "kafka")); err != nil {
			return err
		}
		r.onClose(r.kafka.close)
		args.Kafka.Brokers = []string{r.kafka.addr}
		r.pids["broker"] = r.kafka.pid
	default:
		args.Dir = filepath.Join(r.dir, "broker")
		if err := os.Mkdir(args.Dir, 0o700); err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
	}
	if r.broker, err = r.start(ctx, "broker", roleBroker, args, &r.at); err != nil {
		return err
	}
	if len(args.Kafka.Brokers) == 0 {
		r.pids["broker"] = r.broker.PID
	}
	return nil
}

// openSource starts a server, or takes that of the configuration, and makes the
// tables.
func (r *rig) openSource(ctx context.Context) (err error) {
	kind := r.file.Source
	r.place = source.Place{Kind: kind, Spec: r.file.Workload, Prefix: r.prefix + "_t", Publication: r.prefix + "_src"}
	if r.place.DSN = Configured(r.Config, kind); r.place.DSN == "" {
		r.own = true
		if r.place.DSN, err = r.startServer(ctx, kind); err != nil {
			return err
		}
	}
	if r.db, err = source.Open(r.place); err != nil {
		return err
	}
	r.onClose(r.db.Close)
	v, err := r.db.Version(ctx)
	if err != nil {
		return fmt.Errorf("ask the source for its version: %w", err)
	}
	if kind == config.KindMongoDB && r.own {
		v = "a stand-in for " + v
	}
	r.result.Versions["source"] = v + r.whose()
	if err := r.db.Create(ctx); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	if !r.own {
		r.onClose(func() error { return r.db.Drop(context.WithoutCancel(ctx)) })
	}
	return nil
}

// whose says where the source came from, of a run with a configuration, which may have
// none of its kind.
func (r *rig) whose() string {
	switch {
	case r.Config == nil:
		return ""
	case r.own:
		return ", private"
	case Configured(r.Config, r.place.Kind) == "":
		return ", of MONGODB_URI"
	}
	return ", of the configuration"
}

// Configured is the DSN of the first source of that kind in the configuration; empty:
// it has none.
func Configured(c *config.Config, kind string) string {
	if c == nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		if s := c.Sources[name]; s.Kind == kind {
			return s.DSN
		}
	}
	return ""
}

func (r *rig) startServer(ctx context.Context, kind string) (dsn string, err error) {
	if source.Server(kind) == "" {
		return r.startMongo(ctx)
	}
	if r.home, err = privateserver.NewHome(); err != nil {
		return "", err
	}
	r.onClose(r.home.Close)
	server, err := r.home.Start(ctx, source.Server(kind), source.Tuning(kind)...)
	if err != nil {
		return "", err
	}
	r.pids["source"] = server.PID()
	return source.Prepare(ctx, kind, server.DSN)
}

// startMongo starts what stands in for MongoDB, of which no server can be had
// from a package, or takes the deployment that MONGODB_URI names.
func (r *rig) startMongo(ctx context.Context) (dsn string, err error) {
	if uri := os.Getenv("MONGODB_URI"); uri != "" {
		r.own = false
		return uri, nil
	}
	dir := filepath.Join(r.dir, "mongodb")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	server, err := r.start(ctx, "source", roleMongoDB, mongoArgs{dir}, &dsn)
	if err != nil {
		return "", err
	}
	r.pids["source"] = server.PID
	return dsn, nil
}

// warehouse is a section of the configuration.
func (r *rig) warehouse(ctx context.Context) (string, error) {
	const often = ", load_every: 100ms"
	switch {
	case r.file.Warehouse == BigQueryFake:
		var at endpoints
		fake, err := r.start(ctx, "bigquery", roleBigQuery, bigQueryArgs{}, &at)
		if err != nil {
			return "", err
		}
		r.fake, r.pids["bigquery"] = fake, fake.PID
		return fmt.Sprintf("{kind: bigquery, project: %s, location: %s, endpoints: {jobs: %q, writes: %q}, load_every: 1s, freshness: 0}",
			at.Project, location, strings.TrimSuffix(at.Jobs, "/"), at.Writes), nil
	case r.Config != nil && r.Config.Warehouse.Kind == config.KindBigQuery:
		w := r.Config.Warehouse
		out := fmt.Sprintf("{kind: bigquery, project: %q, location: %q, load_every: %s", w.BigQuery.Project, w.BigQuery.Location, w.LoadEvery)
		if w.BigQuery.JobsURL != "" {
			out += fmt.Sprintf(", endpoints: {jobs: %q, writes: %q}", w.BigQuery.JobsURL, w.BigQuery.WritesAddr)
		}
		return out + "}", nil
	}
	return "{kind: duckdb" + often + "}", nil
}

// product is a running child that is Millrace.
type product struct {
	*child.Child
	page.Client
	run up.RunFile
}

// configure writes the product's configuration. Without Kafka it embeds one.
func (r *rig) configure(withKafka bool, warehouse, derived string) (path string, err error) {
	var b strings.Builder
	fmt.Fprintf(&b, "prefix: %s\ndata: %s\nhttp: 127.0.0.1:0\nwarehouse: %s\n", r.prefix, filepath.Join(r.dir, "data"), warehouse)
	if withKafka {
		sections, err := r.at.sections()
		if err != nil {
			return "", err
		}
		b.WriteString(sections)
	}
	if derived != "" {
		fmt.Fprintf(&b, "derived: %s\n", derived)
	}
	kind, dsn := r.place.Kind, strings.ReplaceAll(r.place.DSN, "$", "$$")
	if kind == "" { // nothing is captured; the section says which tables are loaded
		kind, dsn = config.KindPostgres, "postgres://nobody@127.0.0.1:1/none"
	}
	fmt.Fprintf(&b, "sources:\n  src:\n    kind: %s\n    dsn: %q\n    tables:\n", kind, dsn)
	for t := range r.file.Workload.Tables {
		fmt.Fprintf(&b, "      %s: {event_time: created_at%s}\n", r.tableID(t), r.place.Section())
	}
	path = filepath.Join(r.dir, "millrace.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	return path, nil
}

// tableID is schema.table of a table of the workload.
func (r *rig) tableID(t int) string {
	if r.place.Kind == "" {
		return fmt.Sprintf("public.%s_t%d", r.prefix, t+1)
	}
	return r.place.ID(t)
}

// core is the core table of a table of the workload.
func (r *rig) core(t int) string {
	_, name, _ := strings.Cut(r.tableID(t), ".")
	return "core." + name
}

// run starts the product. The last start of a run is the one that is profiled.
func (r *rig) run(ctx context.Context, config string, parts up.Parts, last bool) (*product, error) {
	args := millraceArgs{Config: config, Parts: parts}
	if last && r.Profile {
		args.Profile = r.Out
	}
	p := &product{}
	var err error
	if p.Child, err = r.start(ctx, "millrace", roleMillrace, args, &p.run); err != nil {
		return nil, err
	}
	p.Addr = p.run.HTTP
	p.HTTP.Timeout = 10 * time.Minute
	return p, nil
}

// await asks the product until it is so.
func (r *rig) await(ctx context.Context, p *product, what string, every time.Duration, ok func(*page.Status) (bool, error)) error {
	deadline := time.Now().Add(r.Patience)
	for {
		status, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("wait until %s: %w\n%s", what, err, p.Log())
		}
		for _, s := range status.Sources {
			if s.Halted != "" {
				return fmt.Errorf("wait until %s: the source halted: %s", what, s.Halted)
			}
			for _, t := range s.Tables {
				if t.Halted != "" {
					return fmt.Errorf("wait until %s: %s halted: %s", what, t.Table, t.Halted)
				}
			}
		}
		done, err := ok(status)
		switch {
		case err != nil:
			return fmt.Errorf("wait until %s: %w", what, err)
		case done:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("wait until %s: it did not come within %s\n%s", what, r.Patience, p.Log())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}
