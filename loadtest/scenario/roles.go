package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/config"
	"millrace/internal/kafka/embedded"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/testkit/mongofake"
	"millrace/internal/up"
	"millrace/loadtest/child"
	"millrace/loadtest/source"
	"millrace/schemas/registry"
)

// Roles are what the binary can be in a process of its own.
func Roles() map[string]child.Role {
	return map[string]child.Role{
		roleBroker:   role(serveBroker),
		roleBigQuery: role(serveBigQuery),
		roleMongoDB:  role(serveMongoDB),
		roleMillrace: role(runMillrace),
		roleDiscard:  role(runDiscard),
		rolePoll:     role(runPoll),
		roleDrain:    role(runDrain),
	}
}

const (
	roleBroker   = "broker"
	roleBigQuery = "bigquery"
	roleMongoDB  = "mongodb"
	roleMillrace = "millrace"
	roleDiscard  = "discard"
	rolePoll     = "poll"
	roleDrain    = "drain"
)

// role reads the arguments of a role.
func role[A any](play func(context.Context, A, func(any) error) (any, error)) child.Role {
	return func(ctx context.Context, text json.RawMessage, ready func(any) error) (any, error) {
		var args A
		if err := json.Unmarshal(text, &args); err != nil {
			return nil, fmt.Errorf("read the arguments: %w", err)
		}
		return play(ctx, args, ready)
	}
}

// brokerArgs say where the broker keeps its data; with brokers, only a registry
// is served.
type brokerArgs struct {
	Dir   string
	Kafka config.Kafka
}

func serveBroker(ctx context.Context, a brokerArgs, ready func(any) error) (_ any, err error) {
	at := where{Kafka: a.Kafka}
	if len(a.Kafka.Brokers) == 0 {
		broker, err := embedded.Start(ctx, embedded.Options{Dir: a.Dir})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, broker.Close()) }()
		at.Kafka.Brokers, at.Embedded = []string{broker.Addr()}, true
	}
	cluster, err := at.cluster()
	if err != nil {
		return nil, err
	}
	reg, err := registry.Open(ctx, cluster, registry.DefaultTopic)
	if err != nil {
		return nil, fmt.Errorf("open a registry: %w", err)
	}
	defer reg.Close()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve a registry: %w", err)
	}
	server := &http.Server{Handler: reg, ReadHeaderTimeout: time.Minute}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // returns when it is closed
	}()
	defer func() {
		err = errors.Join(err, server.Close())
		<-ended
	}()
	at.Registry.URL = "http://" + listener.Addr().String()
	if err := ready(at); err != nil {
		return nil, err
	}
	<-ctx.Done()
	return nil, nil
}

// bigQueryArgs say how the fake is; it keeps what it is given.
type bigQueryArgs struct{}

// endpoints are where it is.
type endpoints struct{ Project, Jobs, Writes string }

func serveBigQuery(ctx context.Context, _ bigQueryArgs, ready func(any) error) (any, error) {
	fake, err := bigqueryfake.Start(ctx, bigqueryfake.Options{Location: location})
	if err != nil {
		return nil, err
	}
	if err := ready(endpoints{fake.Project(), fake.URL(), fake.GRPCAddr()}); err != nil {
		return nil, errors.Join(err, fake.Close())
	}
	<-ctx.Done()
	return nil, fake.Close()
}

const location = "EU"

// mongoArgs say where the stand-in keeps its data.
type mongoArgs struct{ Dir string }

func serveMongoDB(ctx context.Context, a mongoArgs, ready func(any) error) (any, error) {
	fake, err := mongofake.Start(ctx, mongofake.Options{Dir: a.Dir, Noop: 100 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	if err := ready(fake.URI()); err != nil {
		return nil, errors.Join(err, fake.Close())
	}
	<-ctx.Done()
	return nil, fake.Close()
}

// millraceArgs say what the product is to run.
type millraceArgs struct {
	Config  string
	Parts   up.Parts
	Profile string // folder for profiles; empty: none
}

// runMillrace is the product: what `millrace up`, `produce`, `consume` or `derive`
// runs.
func runMillrace(ctx context.Context, a millraceArgs, ready func(any) error) (any, error) {
	conf, err := config.Load(a.Config, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	var faults []error
	stop := func() error { return nil }
	err = up.Run(ctx, up.Options{
		Config: conf, Parts: a.Parts, Version: "loadtest", Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Started: func(f up.RunFile) {
			var err error
			stop, err = profile(a.Profile)
			faults = append(faults, err, ready(f))
		},
	})
	return nil, errors.Join(append(faults, err, stop())...)
}

// profile notes where CPU goes until it is stopped, and then what is in memory.
func profile(dir string) (stop func() error, err error) {
	stop = func() error { return nil }
	if dir == "" {
		return stop, nil
	}
	cpu, err := os.Create(filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		return stop, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return stop, errors.Join(fmt.Errorf("profile: %w", err), cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(filepath.Join(dir, "heap.pprof"))
		if err != nil {
			return errors.Join(fmt.Errorf("profile: %w", err), cpu.Close())
		}
		runtime.GC() // what lives, not what was left
		return errors.Join(pprof.WriteHeapProfile(heap), heap.Close(), cpu.Close())
	}, nil
}

// pollArgs say what is polled.
type pollArgs struct {
	At     where
	Topics []string
	Events int64
}

// runPoll reads topics with the client options of consumers, and throws away
// what it gets: the limit of every load.
func runPoll(ctx context.Context, a pollArgs, ready func(any) error) (any, error) {
	if err := ready(nil); err != nil {
		return nil, err
	}
	cluster, err := a.At.cluster()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(append(cluster.ClientOpts("limit", nil, nil), cluster.ConsumerOpts()...), kgo.ConsumeTopics(a.Topics...))...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	for left := a.Events; left > 0; {
		fetches := client.PollRecords(ctx, 10_000)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("poll: %w", err)
		}
		left -= int64(fetches.NumRecords())
	}
	return nil, nil
}

func runDrain(ctx context.Context, d source.Drain, ready func(any) error) (any, error) {
	if err := ready(nil); err != nil {
		return nil, err
	}
	return nil, d.Run(ctx)
}
