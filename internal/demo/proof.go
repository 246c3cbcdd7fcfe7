package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/internal/config"
	"millrace/internal/page"
	"millrace/internal/verify"
)

// ownName makes a name of dataset.table with something between and behind.
func ownName(table, between, behind string) string {
	dataset, name, _ := strings.Cut(table, ".")
	return dataset + between + name + behind
}

// proof compares everything that the warehouse holds with what it should hold.
type proof struct {
	client   verify.Platform
	conf     *config.Config
	run      runFile
	dir      string
	specs    []*verify.Spec
	calendar verify.Calendar
}

// eventTimes are those of the configuration and of the tables that its derived
// tables read.
func eventTimes(conf *config.Config) verify.EventTimes {
	times := verify.EventTimes{"analytics.item_revenue_daily": "day", "analytics.revenue_daily": "day", "analytics.revenue_trailing_7d": "day"}
	for _, t := range captured(conf) {
		if len(t.EventTime) > 0 {
			times[t.Core] = t.EventTime[0]
		}
	}
	return times
}

// capturedTable is a table of a source.
type capturedTable struct {
	config.Table
	source, name string
}

// captured are the tables that the configuration names, in the order of the
// shop's services.
func captured(conf *config.Config) []capturedTable {
	var out []capturedTable
	for _, service := range services() {
		tables := conf.Sources[service.source].Tables
		for _, name := range slices.Sorted(maps.Keys(tables)) {
			out = append(out, capturedTable{tables[name], service.source, name})
		}
	}
	return out
}

// compare returns a report for each core table and then each derived table.
func (p *proof) compare(ctx context.Context) (core, derived []verify.Report, err error) {
	replica, err := verify.NewReplica(ctx, filepath.Join(p.dir, "verify.duckdb"))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, replica.Close()) }()
	core, err = p.compareCore(ctx, replica)
	if err != nil {
		return nil, nil, err
	}
	for _, spec := range inOrder(p.specs) {
		report, err := verify.CompareDerived(ctx, p.client, replica, spec, eventTimes(p.conf), p.calendar)
		if err != nil {
			return nil, nil, err
		}
		derived = append(derived, report)
	}
	return core, derived, nil
}

func (p *proof) compareCore(ctx context.Context, replica *verify.Replica) (reports []verify.Report, err error) {
	topics := verify.Topics{Brokers: p.run.Kafka, Registry: p.run.Registry}
	for _, t := range captured(p.conf) {
		report, err := p.compareTable(ctx, replica, t)
		if err != nil {
			return nil, err
		}
		reports = append(reports, report)
		if t.History == "" {
			continue
		}
		if err := topics.History(ctx, replica, p.conf.Prefix+"."+t.source+"."+t.name, t.History); err != nil {
			return nil, err
		}
		if report, err = verify.CompareHistory(ctx, p.client, replica, t.History); err != nil {
			return nil, err
		}
		reports = append(reports, report)
	}
	return reports, nil
}

func (p *proof) compareTable(ctx context.Context, replica *verify.Replica, t capturedTable) (report verify.Report, err error) {
	source := p.conf.Sources[t.source]
	db, err := verify.OpenDatabase(source.Kind, source.DSN)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return verify.Core(ctx, p.client, replica, db, verify.Configured(t.name, t.Table), t.Core, nil)
}

// inOrder puts every spec after those that it reads. None is left out: of specs that
// name each other, to compute one says what is wrong.
func inOrder(specs []*verify.Spec) []*verify.Spec {
	var out []*verify.Spec
	for len(out) < len(specs) {
		before := len(out)
		for _, s := range specs {
			waits := slices.ContainsFunc(specs, func(other *verify.Spec) bool {
				return other != s && strings.Contains(s.Query, other.Name) && !slices.Contains(out, other)
			})
			if !waits && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
		if len(out) == before {
			out = append(out, slices.DeleteFunc(slices.Clone(specs), func(s *verify.Spec) bool { return slices.Contains(out, s) })...)
		}
	}
	return out
}

// quietWithin is how long everything may take to be loaded and derived.
const quietWithin = 2 * time.Minute

// awaitQuiet waits until the warehouse holds everything that the shop holds,
// and all that follows from it.
func awaitQuiet(ctx context.Context, i *install, client *page.Client, s *shop, conf *config.Config, specs []*verify.Spec) error {
	ends, err := s.marks(ctx)
	if err != nil {
		return err
	}
	marks := make(map[string]verify.Mark) // by core table
	for _, t := range captured(conf) {
		marks[t.Core] = ends[t.source]
		if t.History != "" {
			marks[t.History] = ends[t.source]
		}
	}
	deadline := time.Now().Add(quietWithin)
	for {
		why, err := unquiet(ctx, client, marks, specs)
		if err != nil || why == "" {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not everything arrives within %s: %s\n%s", quietWithin, why, i.log())
		}
		if err := i.pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// unquiet says what is still to be done, or nothing.
func unquiet(ctx context.Context, client *page.Client, marks map[string]verify.Mark, specs []*verify.Spec) (string, error) {
	status, err := client.Status(ctx)
	if err != nil {
		return "", err
	}
	loads := make(map[string]int64)
	for _, c := range status.Core {
		loads[c.Table] = c.Load
	}
	for core, mark := range marks {
		i := slices.IndexFunc(status.Core, func(c page.Core) bool { return c.Table == core })
		if i < 0 {
			return core + " is not there yet", nil
		}
		c := status.Core[i]
		ok, err := mark.Reached(c.Complete.Pos)
		switch {
		case err != nil:
			return "", fmt.Errorf("read how far %s is: %w", core, err)
		case c.Halted != "":
			return core + " is halted: " + c.Halted, nil
		case c.Letters > 0:
			return fmt.Sprintf("%s has %d dead letters", core, c.Letters), nil
		case !c.Snapshot.Done || c.Snapshot.Running:
			return core + " waits for its snapshot", nil
		case !ok:
			return core + " is complete through " + c.Complete.Pos, nil
		}
	}
	for _, d := range status.Derived {
		loads[d.Table] = d.Load
	}
	for _, spec := range specs {
		i := slices.IndexFunc(status.Derived, func(d page.Derived) bool { return d.Table == spec.Name })
		if i < 0 {
			return spec.Name + " is not there yet", nil
		}
		if d := status.Derived[i]; d.Dirty > 0 || d.Held > 0 {
			return fmt.Sprintf("%s has %d dirty and %d held: %s %s", d.Table, d.Dirty, d.Held, d.Waits, d.Error), nil
		}
		if why := undrained(status.Derived[i], loads); why != "" {
			return why, nil
		}
	}
	return "", nil
}

// undrained says which input's last load a derived table does not know.
func undrained(d page.Derived, loads map[string]int64) string {
	if len(d.Drained) == 0 {
		return d.Table + " has not begun"
	}
	for input, load := range d.Drained {
		if load < loads[input] {
			return fmt.Sprintf("%s knows %s up to load %d of %d", d.Table, input, load, loads[input])
		}
	}
	return ""
}
