package bigquery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	api "google.golang.org/api/bigquery/v2"
)

// SetupFault is what a person must cure before a project can be used.
type SetupFault struct {
	Field   string // of the configuration
	Problem error
	Cure    string
}

// surveyPatience is how long a project may not answer.
const surveyPatience = 3 * time.Second

// Survey asks a project whether it can be used as the options say: for the price
// of nothing, and changing nothing. An error says that it could not be asked. That
// a role is missing on a dataset is not seen before something is written.
func Survey(ctx context.Context, opts Options) (faults []SetupFault, err error) {
	opts.Patience, opts.CallTimeout = surveyPatience, surveyPatience
	w, err := Open(ctx, opts)
	if err != nil {
		return setupFault(err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	_, _, err = w.columnsOfQuery(ctx, task{what: "survey", table: "none", text: func(string) string { return "SELECT 1 AS n" }})
	if err != nil {
		return setupFault(err)
	}
	for _, name := range platformDatasets() {
		var found *api.Dataset
		err := w.call(ctx, func(ctx context.Context) (err error) {
			found, err = w.jobs.Datasets.Get(opts.Project, name).Context(ctx).Do()
			return err
		})
		if isMissing(err) {
			continue // it is made
		}
		if err != nil {
			return setupFault(fmt.Errorf("describe the dataset %s: %w", name, cure(err)))
		}
		if !strings.EqualFold(found.Location, opts.Location) {
			faults = append(faults, SetupFault{
				"warehouse.location", fmt.Errorf("is %s, and the dataset %s is in %s", opts.Location, name, found.Location), hintLocation,
			})
		}
	}
	return faults, nil
}

// setupFault is the error as a fault, if a person must cure it.
func setupFault(err error) ([]SetupFault, error) {
	var known *curedError
	if !errors.As(err, &known) || errors.Is(err, errPatience) {
		return nil, err
	}
	field := "warehouse"
	switch known.hint {
	case hintProject:
		field = "warehouse.project"
	case hintLocation:
		field = "warehouse.location"
	case hintEndpoint:
		field = "warehouse.endpoints"
	case hintOutage, hintQuota, hintReach:
		return nil, err
	}
	return []SetupFault{{field, known.err, known.hint}}, nil
}
