// Package scenario runs measurements: it starts what is measured in processes of
// its own, measures a limit beside it, and accounts for every row in the end.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"millrace/internal/config"
	"millrace/loadtest/measure"
	"millrace/loadtest/report"
)

// Options are how a scenario is run.
type Options struct {
	Kafka   string         // RealKafka, else the embedded broker
	Config  *config.Config // brokers, DSNs and warehouse of one's own; nil: private ones
	Out     string         // folder of profiles
	Profile bool
	Version string // of what is measured; empty: what the binary knows
	// Patience is how long anything that is waited for may take.
	Patience time.Duration
	Tell     func(Progress)
}

// Progress is what a run does now.
type Progress struct {
	Phase       string
	Done, Total int64 // Total 0: not known
}

// Run runs a scenario and cleans up behind it. The result of a run that ended in
// order is not nil; its OK says whether nothing was lost, duplicated or wrong. A
// server that is missing is a *privateserver.MissingError.
func Run(ctx context.Context, f *File, o Options) (_ *report.Result, err error) {
	if o.Tell == nil {
		o.Tell = func(Progress) {}
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Minute
	}
	r, err := newRig(o, f)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closing := r.close(); closing != nil {
			err = errors.Join(err, fmt.Errorf("clean up: %w", closing))
		}
	}()
	r.result = &report.Result{
		Scenario: f.Name, Machine: measure.ThisMachine(), Versions: versions(o),
		Detail: &report.Detail{About: f.About, Began: time.Now().UTC(), Workload: described(f)},
	}
	switch f.Kind {
	case Capture:
		err = r.capture(ctx)
	case Snapshot:
		err = r.snapshot(ctx)
	case Load:
		err = r.load(ctx)
	case EndToEnd:
		err = r.endToEnd(ctx)
	case Fanout:
		err = r.fanout(ctx)
	default:
		err = fmt.Errorf("kind %q is not known", f.Kind)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, interrupted{ctx.Err()}
	case err != nil:
		return nil, fmt.Errorf("run %s: %w", f.Name, err)
	}
	for _, t := range f.Targets {
		t.Value, _ = r.result.Figures.Value(t.Figure)
		r.result.Detail.Targets = append(r.result.Detail.Targets, t)
	}
	return r.result, nil
}

// interrupted is the error of a run that was told to end: at what it was just then,
// and how that failed, says nothing.
type interrupted struct{ reason error }

func (interrupted) Error() string { return "interrupted" }

func (e interrupted) Unwrap() error { return e.reason }

func (r *rig) tell(phase string, done, total int64) { r.Tell(Progress{phase, done, total}) }

// versions are those of what the run is made of; a scenario adds its source's.
func versions(o Options) map[string]string {
	out := map[string]string{"go": runtime.Version(), "millrace": "unknown", "kafka": "embedded"}
	switch {
	case o.Config != nil && len(o.Config.Kafka.Brokers) > 0:
		out["kafka"] = "of the configuration"
	case o.Kafka == RealKafka:
		out["kafka"] = "Apache Kafka"
	}
	if o.Version != "" {
		out["millrace"] = o.Version
	} else if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				out["millrace"] = s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return out
}

// described is the workload as a report shows it.
func described(f *File) map[string]any {
	w := f.Workload
	out := map[string]any{
		"seed": w.Seed, "tables": w.Tables, "width": w.Width, "types": w.Types, "transaction": w.Transaction,
		"mix": fmt.Sprintf("%d insert, %d update, %d delete, %d key", w.Mix.Insert, w.Mix.Update, w.Mix.Delete, w.Mix.Key),
	}
	if w.Toast > 0 {
		out["toast"] = w.Toast
	}
	if w.Zipf > 0 {
		out["zipf"] = w.Zipf
	}
	if w.Late > 0 {
		out["late"] = w.Late
	}
	if w.Burst.Every > 0 {
		out["burst"] = fmt.Sprintf("every %s for %s, times %v", w.Burst.Every, w.Burst.For, w.Burst.Times)
	}
	if f.Rate > 0 {
		out["rate"], out["duration"] = fmt.Sprintf("%g/s", f.Rate), f.Duration.String()
	}
	for name, n := range map[string]int{"rows": f.Rows, "seeded": f.Seeded, "derived": f.Derived} {
		if n > 0 {
			out[name] = n
		}
	}
	return out
}

// figures fills in rates. What the product used is the process's.
func (r *rig) figures(events int64, wall time.Duration, product measure.Process, processes []measure.Process) {
	f := &r.result.Figures
	f.Events, f.PeakRSSMB = events, product.PeakRSSMB
	if wall > 0 {
		f.EventsPerSecond = float64(events) / wall.Seconds()
	}
	if product.CPUSeconds > 0 {
		f.EventsPerCPUSecond = float64(events) / product.CPUSeconds
	}
	r.result.Detail.Seconds, r.result.Detail.Processes = wall.Seconds(), processes
}

// limited fills in the limit.
func (r *rig) limited(what string, events int64, wall, cpu time.Duration) {
	f := &r.result.Figures
	r.result.Detail.Limit = what
	if wall > 0 {
		f.LimitEventsPerSecond = float64(events) / wall.Seconds()
		f.RatioToLimit = f.EventsPerSecond / f.LimitEventsPerSecond
	}
	if cpu > 0 {
		perCPU := float64(events) / cpu.Seconds()
		r.more("limit_events_per_cpu_second", perCPU, "/cpu-s")
		r.more("ratio_to_limit_by_cpu", f.EventsPerCPUSecond/perCPU, "")
	}
}

func (r *rig) more(name string, value float64, unit string) {
	r.result.Detail.More = append(r.result.Detail.More, report.Figure{Name: name, Value: value, Unit: unit})
}

// times fills in a histogram.
func (r *rig) times(what string, h *measure.Histogram) {
	f := &r.result.Figures
	f.P50Ms, f.P99Ms, f.MaxMs = h.Quantile(50), h.Quantile(99), h.Max()
	r.result.Detail.Latency, r.result.Detail.Quantiles = what, h.Points()
	if h.Clamped > 0 {
		r.more("times_out_of_range", float64(h.Clamped), "")
	}
}
