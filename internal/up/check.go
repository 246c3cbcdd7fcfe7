package up

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/config"
	"millrace/internal/invalid"
	"millrace/internal/kafka"
	"millrace/internal/page"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/bigquery"
	"millrace/schemas"
)

// CheckOptions says what Check reads. Either may be empty, not both.
type CheckOptions struct {
	Config  string // the configuration's file
	Derived string // the folder of the specs; empty: the configuration's
	Env     func(string) (string, bool)
}

// Checked is what Check found to be right, and what it could not look at.
type Checked struct {
	Sources   Share
	Tables    Share // of the sources
	Specs     int
	Unchecked []string // sentences
	Notes     []string // sentences: what is no fault and may surprise

	// meant are the core tables that tables would have whose names are mistyped:
	// what reads them has no fault of its own.
	meant []graph.Table
}

// Share is how many were looked at of how many.
type Share struct{ Asked, Of int }

// Check reports every fault of the configuration, of its sources and of all
// specs at once, as invalid.Faults. It reads files, asks every source, changing
// nothing there, and asks the process that runs on the configuration, if there
// is one. What a person must cure at a source is a fault; a source that does
// not answer may only be out of reach from here, so that it is named as not
// checked, and its columns are those that were captured of it, if any were. A
// warehouse elsewhere that does not answer is a fault: it reads the specs' queries,
// of which the form alone is checked without it.
func Check(ctx context.Context, o CheckOptions) (*Checked, error) {
	if o.Config == "" && o.Derived == "" {
		return nil, errors.New("nothing to check: name a configuration with --config or a folder of specs with --derived")
	}
	var out Checked
	var faults invalid.Faults
	var conf *config.Config
	var surveyed map[string]*schemas.Table
	silent := false // the warehouse cannot be asked
	if o.Config != "" {
		var err error
		conf, err = config.Load(o.Config, o.Env)
		var found invalid.Faults
		if err != nil && !errors.As(err, &found) {
			return nil, err
		}
		faults = append(faults, found...)
	}
	if conf != nil {
		if o.Derived == "" {
			o.Derived = conf.Derived
		}
		var found invalid.Faults
		surveyed, found = out.survey(ctx, conf)
		faults = append(append(faults, found...), out.access(ctx, conf)...)
		found, err := askWarehouse(ctx, conf)
		if err != nil {
			return nil, err
		}
		faults = append(faults, found...)
		silent = len(found) > 0
	}
	if o.Derived != "" {
		found, err := out.specs(ctx, o.Derived, conf, surveyed, silent)
		if err != nil {
			return nil, err
		}
		faults = append(faults, found...)
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	if conf != nil {
		out.running(ctx, conf)
	}
	return &out, nil
}

// askWarehouse asks the warehouse whether it can be used as configured. One that is
// named and does not answer cannot.
func askWarehouse(ctx context.Context, conf *config.Config) (faults invalid.Faults, err error) {
	if conf.Warehouse.Kind != config.KindBigQuery {
		return nil, nil
	}
	found, err := bigquery.Survey(ctx, bigQueryOptions(conf))
	if err != nil {
		return nil, fmt.Errorf("ask the warehouse: %w", err)
	}
	for _, f := range found.Faults {
		faults = append(faults, conf.Fault(f.Field, oneLine(f.Problem), f.Cure))
	}
	for _, f := range foreign(conf, found.Topics) {
		faults = append(faults, conf.Fault("prefix", "is "+conf.Prefix+", and "+f.problem, f.cure))
	}
	return faults, nil
}

// running notes where the process that runs on the configuration has read other
// specs than those that were checked.
func (c *Checked) running(ctx context.Context, conf *config.Config) {
	f, err := Find(conf.Data)
	if err != nil {
		return // none runs, so none differs
	}
	client := &page.Client{Addr: f.HTTP}
	defer client.HTTP.CloseIdleConnections()
	status, err := client.Status(ctx)
	if err != nil {
		c.Unchecked = append(c.Unchecked, "whether the running process has read these specs: "+err.Error())
		return
	}
	for _, d := range status.Derived {
		if d.Stale != "" {
			c.Notes = append(c.Notes, "the running process has an older spec of "+d.Table+": "+d.Stale)
		}
	}
	for _, note := range status.Notes {
		c.Notes = append(c.Notes, "the running process: "+note)
	}
}

// specs checks the specs of a folder against the configuration, if that is
// known and right, and against what its sources said. A silent warehouse reads no
// queries: then they are checked for their form alone.
func (c *Checked) specs(ctx context.Context, folder string, conf *config.Config, surveyed map[string]*schemas.Table, silent bool) (invalid.Faults, error) {
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		var faults invalid.Faults
		faults.Add(folder, 0, "derived", "is not there", "name the folder of the specs")
		return faults, nil
	}
	specs, faults, err := spec.Load(os.DirFS(folder))
	if err != nil || silent {
		return inFolder(folder, faults), err
	}
	c.Specs = len(specs)
	dialect, err := openDialect(ctx, conf)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dialect.Close() }()
	tables, err := c.tables(ctx, conf, surveyed, specs, dialect)
	if err != nil {
		return nil, err
	}
	built, more, err := graph.Build(ctx, dialect, specs, tables)
	if err != nil {
		return nil, fmt.Errorf("check the specs: %w", err)
	}
	c.Notes = append(c.Notes, wholesale(built, tables)...)
	return inFolder(folder, append(faults, more...)), nil
}

// inFolder names the faults' files as a person would from here.
func inFolder(folder string, faults invalid.Faults) invalid.Faults {
	for i := range faults {
		faults[i].File = filepath.Join(folder, faults[i].File)
	}
	return faults
}

var coreName = regexp.MustCompile(`\bcore\.[A-Za-z_][A-Za-z0-9_]*`)

// tables are the core tables as far as they are known: without a configuration
// every name that the specs use is believed.
func (c *Checked) tables(ctx context.Context, conf *config.Config, surveyed map[string]*schemas.Table, specs []*spec.Spec, dialect warehouse.Dialect) ([]graph.Table, error) {
	if conf == nil {
		c.Unchecked = append(c.Unchecked, "the core tables and their columns: name the configuration with --config")
		return believed(specs), nil
	}
	p := &process{Options: Options{Config: conf}, names: kafka.Names{Prefix: conf.Prefix}, surveyed: surveyed}
	at := conf.Registry
	if f, err := Find(conf.Data); err == nil && at.URL == "" {
		at.URL = f.Registry
	}
	if at.URL != "" {
		var err error
		if p.registry, err = RegistryOf(at); err != nil {
			return nil, err
		}
	}
	tables, unknown, err := p.graphTables(ctx, dialect, nil)
	if err != nil && p.registry != nil { // it is away: what the sources say is left
		p.registry = nil
		tables, unknown, err = p.graphTables(ctx, dialect, nil)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range unknown {
		c.Unchecked = append(c.Unchecked, "the columns of "+name+": its source did not tell them, and nothing of it was captured yet")
	}
	for _, t := range c.meant {
		if !slices.ContainsFunc(tables, func(known graph.Table) bool { return known.Name == t.Name }) {
			tables = append(tables, t)
		}
	}
	return tables, nil
}

func believed(specs []*spec.Spec) []graph.Table {
	var names []string
	histories := map[string]bool{}
	for _, s := range specs {
		if s.Strategy == schemas.ModeAppend {
			for _, name := range coreName.FindAllString(s.Query, -1) {
				histories[name] = true
			}
		}
		names = append(names, coreName.FindAllString(s.Query, -1)...)
		for _, in := range s.Inputs {
			names = append(names, coreName.FindAllString(in.Table+" "+in.Via, -1)...)
		}
	}
	slices.Sort(names)
	var out []graph.Table
	for _, name := range slices.Compact(names) {
		out = append(out, graph.Table{Name: name, Append: histories[name]})
	}
	return out
}
