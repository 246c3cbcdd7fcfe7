package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
	"millrace/schemas"
)

// fanout measures how long it takes from a load until the runs that it causes
// are submitted, with many derived tables.
func (r *rig) fanout(ctx context.Context) error {
	p, loads, g, err := r.startAll(ctx, filepath.Join(r.dir, "derived"))
	if err != nil {
		return err
	}
	defer loads.close()
	if err := r.awaitDerived(ctx, p, loads); err != nil {
		return err
	}
	before := len(loads.all())
	watch := r.watch(r.pids)
	changes, late, err := r.openLoop(ctx, p, g)
	if err != nil {
		return err
	}
	if err := r.awaitComplete(ctx, p); err != nil {
		return err
	}
	if err := r.awaitDerived(ctx, p, loads); err != nil {
		return err
	}
	wall, processes := watch.End()
	r.figures(changes, wall, measure.Of(processes, "millrace"), processes)
	r.limited("the rate at which changes were to be made", changes, r.file.Duration, 0)
	submit, publish, runs := submissions(loads.all(), before)
	r.times("from the commit of a load until a run that it causes is submitted", submit)
	r.more("runs", float64(runs), "")
	r.more("runs_per_second", float64(runs)/wall.Seconds(), "/s")
	r.more("publish_p50", publish.Quantile(50), "ms")
	r.more("publish_p99", publish.Quantile(99), "ms")
	r.more("commit_p99", late.Quantile(99), "ms")
	r.tell("account", 0, 0)
	a := &measure.Account{}
	if err := r.accountAll(ctx, p, a); err != nil {
		return err
	}
	if err := r.accountDerived(ctx, p, a); err != nil {
		return err
	}
	r.result.Account(a)
	_, err = p.Stop()
	return err
}

// derivedTable is the name of a derived table, and the core table it reads.
func (r *rig) derivedTable(n int) (name, core string) {
	return fmt.Sprintf("%s_fan.d%04d", r.prefix, n), r.core(n % r.file.Workload.Tables)
}

// writeSpecs writes the specs: what each day holds of a core table, in as many
// derived tables as there are to be.
func (r *rig) writeSpecs(folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	for n := range r.file.Derived {
		name, core := r.derivedTable(n)
		text := fmt.Sprintf("name: %s\nunique_key: bucket\nquery: |\n  SELECT MOD(id, 10) AS bucket, COUNT(*) AS n, SUM(intended_us) AS total\n  FROM %s\n  GROUP BY 1\n", name, core)
		if err := os.WriteFile(filepath.Join(folder, strings.ReplaceAll(name, ".", "_")+".yaml"), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write a spec: %w", err)
		}
	}
	return nil
}

// quietFor is how long no run is committed before there is nothing left to do.
const quietFor = 3 * time.Second

// awaitDerived returns when every derived table was computed, and holds the last
// load of its input or has nothing more to say: a run may see a load before it is
// told of it, and what then follows changes nothing and leaves no event.
func (r *rig) awaitDerived(ctx context.Context, p *product, loads *tailer) error {
	deadline := time.Now().Add(r.Patience)
	known, since := 0, time.Now()
	for {
		core, caused, ran := map[string]int64{}, map[string]int64{}, map[string]bool{}
		all := loads.all()
		for _, e := range all {
			if isCore(e) && e.Rows.Applied > 0 {
				core[e.Table] = max(core[e.Table], e.Load)
			}
			ran[e.Table] = true // the first run has no cause
			for _, c := range e.Cause {
				caused[e.Table] = max(caused[e.Table], c.Load)
			}
		}
		if len(all) > known {
			known, since = len(all), time.Now()
		}
		behind, none := 0, 0
		for n := range r.file.Derived {
			name, from := r.derivedTable(n)
			if caused[name] < core[from] {
				behind++
			}
			if !ran[name] && core[from] > 0 {
				none++
			}
		}
		r.tell("derive", int64(r.file.Derived-behind), int64(r.file.Derived))
		switch {
		case behind == 0 || none == 0 && time.Since(since) > quietFor:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("derive: %d of %d tables are behind after %s\n%s", behind, r.file.Derived, r.Patience, p.Log())
		case p.Ended():
			_, err := p.Stop()
			return fmt.Errorf("derive: millrace ended: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// submissions are the times from each run's newest cause to its start and to its
// commit. Loads before the given number were there before.
func submissions(loads []schemas.LoadComplete, before int) (submit, publish *measure.Histogram, runs int) {
	committed := map[schemas.Cause]time.Time{}
	for _, e := range loads {
		committed[schemas.Cause{Table: e.Table, Load: e.Load}] = e.CommittedAt
	}
	submit, publish = measure.NewHistogram(), measure.NewHistogram()
	for _, e := range loads[before:] {
		var newest time.Time
		for _, c := range e.Cause {
			if at := committed[c]; at.After(newest) {
				newest = at
			}
		}
		if newest.IsZero() {
			continue
		}
		runs++
		submit.Add(max(e.StartedAt.Sub(newest), 0))
		publish.Add(e.CommittedAt.Sub(newest))
	}
	return submit, publish, runs
}

// accountDerived compares derived tables with what their query gives now. All
// those of a core table have the same query.
func (r *rig) accountDerived(ctx context.Context, p *product, a *measure.Account) error {
	for t := range min(r.file.Workload.Tables, r.file.Derived) {
		want, err := r.sums(ctx, p, "SELECT MOD(id, 10), COUNT(*), SUM(intended_us) FROM "+r.core(t)+" GROUP BY 1")
		if err != nil {
			return err
		}
		for n := t; n < r.file.Derived; n += r.file.Workload.Tables {
			name, _ := r.derivedTable(n)
			got, err := r.sums(ctx, p, "SELECT bucket, n, total FROM "+name)
			if err != nil {
				return err
			}
			target := measure.NewTarget(name, a)
			for key, sum := range got {
				target.Add(key, sum)
			}
			target.Compare(want)
		}
	}
	return nil
}

// sums reads key and checksum of the rows of a query whose first column is the key.
func (r *rig) sums(ctx context.Context, p *product, query string) (measure.Rows, error) {
	answer, err := p.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	out := measure.Rows{}
	for _, row := range answer.Rows {
		if row[0] == nil {
			return nil, fmt.Errorf("a key is null in the answer to %s", query)
		}
		var key int64
		if _, err := fmt.Sscan(*row[0], &key); err != nil {
			return nil, fmt.Errorf("read a key: %w", err)
		}
		columns := make([]workload.Column, len(row)) // compared as texts
		for i := range columns {
			columns[i].Name = fmt.Sprint(i)
		}
		out[key] = workload.Sum(columns, row)
	}
	return out, nil
}
