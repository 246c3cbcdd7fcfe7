package bigquery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"cloud.google.com/go/bigquery/storage/managedwriter"
	"golang.org/x/sync/errgroup"
	api "google.golang.org/api/bigquery/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"millrace/internal/warehouse/sqlgen"
)

// SetupFault is what a person must cure before a project can be used.
type SetupFault struct {
	Field   string // of the configuration
	Problem error
	Cure    string
}

// Surveyed is what a project says of itself.
type Surveyed struct {
	Faults []SetupFault
	Topics map[string]string // from which core tables were loaded first, by table
}

// surveyPatience is how long a project may not answer.
const surveyPatience = 3 * time.Second

// Survey asks a project whether it can be used as the options say, and by which
// topics its core tables were loaded: for the price of nothing, and changing
// nothing. A project that does not answer, or whose write path does not, is a fault.
// That a role is missing on a dataset is not seen before something is written.
func Survey(ctx context.Context, opts Options) (out Surveyed, err error) {
	opts.Patience, opts.CallTimeout = surveyPatience, surveyPatience
	w, err := Open(ctx, opts)
	if err != nil {
		out.Faults = []SetupFault{setupFault(err)}
		return out, nil
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	err = w.survey(ctx, &out)
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	if err != nil {
		out.Faults = append(out.Faults, setupFault(err))
	}
	if fault := w.surveyWrites(ctx); fault != nil {
		out.Faults = append(out.Faults, *fault)
	}
	return out, nil
}

func (w *Warehouse) survey(ctx context.Context, out *Surveyed) (err error) {
	_, _, err = w.columnsOfQuery(ctx, task{what: "survey", table: "none", text: func(string) string { return "SELECT 1 AS n" }})
	if err != nil {
		return err
	}
	for _, name := range platformDatasets() {
		var found *api.Dataset
		err := w.call(ctx, func(ctx context.Context) (err error) {
			found, err = w.jobs.Datasets.Get(w.opts.Project, name).Context(ctx).Do()
			return err
		})
		if isMissing(err) {
			continue // it is made
		}
		if err != nil {
			return fmt.Errorf("describe the dataset %s: %w", name, cure(err))
		}
		if !strings.EqualFold(found.Location, w.opts.Location) {
			out.Faults = append(out.Faults, SetupFault{
				"warehouse.location", fmt.Errorf("is %s, and the dataset %s is in %s", w.opts.Location, name, found.Location), hintLocation,
			})
		}
	}
	out.Topics, err = w.topics(ctx)
	return err
}

// topics are those from which core tables were loaded first, by table. They are read
// as the rows of a table are, which no query is billed for.
func (w *Warehouse) topics(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	var mu sync.Mutex
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(16)
	err := w.coreHeads(ctx, func(head string) error {
		group.Go(func() error {
			topic, err := w.topicIn(inner, head)
			mu.Lock()
			defer mu.Unlock()
			if topic != "" {
				out[sqlgen.HeadOf(head)] = topic
			}
			return err
		})
		return nil
	})
	return out, errors.Join(err, group.Wait())
}

// topicIn reads a head's topic; empty if it has none.
func (w *Warehouse) topicIn(ctx context.Context, head string) (topic string, err error) {
	md, found, err := w.metadata(ctx, sqlgen.Schema, head)
	if err != nil || !found || md.Schema == nil {
		return "", err
	}
	at := slices.IndexFunc(md.Schema.Fields, func(f *api.TableFieldSchema) bool { return f.Name == "topic" })
	if at < 0 {
		return "", nil
	}
	err = w.call(ctx, func(ctx context.Context) error {
		list, err := w.jobs.Tabledata.List(w.opts.Project, sqlgen.Schema, head).MaxResults(1).Context(ctx).Do()
		if err == nil && len(list.Rows) > 0 && at < len(list.Rows[0].F) {
			topic, _ = list.Rows[0].F[at].V.(string)
		}
		return err
	})
	if err != nil && !isMissing(err) {
		return "", cure(fmt.Errorf("read %s.%s: %w", sqlgen.Schema, head, err))
	}
	return topic, nil
}

// surveyWrites asks the write path for a stream that is not there: to hear so is all
// that is wanted.
func (w *Warehouse) surveyWrites(ctx context.Context) *SetupFault {
	name := managedwriter.TableParentFromParts(w.opts.Project, sqlgen.Schema, "survey") + "/streams/_default"
	err := w.call(ctx, func(ctx context.Context) error {
		_, err := w.writes.GetWriteStream(ctx, &storagepb.GetWriteStreamRequest{Name: name})
		return err
	})
	err = heard(err)
	said, _ := status.FromError(err)
	switch code := said.Code(); {
	case err == nil, code == codes.NotFound, code == codes.InvalidArgument:
		return nil
	case code == codes.PermissionDenied && hintOfRefusal("", said.Message()) == "":
		return nil // of what is not there, the service may say that it is not for this account
	case code == codes.PermissionDenied:
		return &SetupFault{"warehouse", fmt.Errorf("ask the write path: %w", err), hintOfRefusal("", said.Message())}
	case code == codes.Unauthenticated:
		return &SetupFault{"warehouse", fmt.Errorf("ask the write path: %w", err), hintRenew}
	case code == codes.Unimplemented:
		return &SetupFault{writesField, fmt.Errorf("ask the write path: %w", err), hintEndpoint}
	case code == codes.ResourceExhausted:
		return &SetupFault{"warehouse", fmt.Errorf("ask the write path: %w", err), hintRoom}
	}
	return &SetupFault{writesField, fmt.Errorf("the write path does not answer: %w", err), hintWrites}
}

const writesField = "warehouse.endpoints.writes"

// What a person can do who is there, and for whom nothing is tried again.
const (
	hintWrites = "check the network and warehouse.endpoints.writes: host:port of the Storage Write API, which is another than that of jobs"
	hintJobs   = "check the network and warehouse.endpoints.jobs"
	hintLater  = "the service has trouble: check again when it has none"
	hintRoom   = "check again when the quota has room: see the project's quotas"
)

// setupFault is the error as a fault.
func setupFault(err error) SetupFault {
	var known *curedError
	if !errors.As(err, &known) {
		return SetupFault{"warehouse.endpoints.jobs", fmt.Errorf("it could not be asked: %w", err), hintJobs}
	}
	out := SetupFault{"warehouse", known.err, known.hint}
	switch known.hint {
	case hintProject:
		out.Field = "warehouse.project"
	case hintLocation:
		out.Field = "warehouse.location"
	case hintEndpoint:
		out.Field = "warehouse.endpoints"
	case hintReach:
		out.Field, out.Cure = "warehouse.endpoints.jobs", hintJobs
	case hintOutage:
		out.Cure = hintLater
	case hintQuota:
		out.Cure = hintRoom
	}
	return out
}
