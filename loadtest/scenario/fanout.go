package scenario

import (
	"context"
	"errors"
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
// are submitted, with many derived tables: first how many runs there can be, and
// then how long they take at a rate that is to be below it.
func (r *rig) fanout(ctx context.Context) error {
	p, loads, g, err := r.startAll(ctx, filepath.Join(r.dir, "derived"))
	if err != nil {
		return err
	}
	defer loads.close()
	if err := r.awaitDerived(ctx, p, loads); err != nil {
		return err
	}
	capacity, err := r.capacity(ctx, p, loads, g)
	if err != nil {
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
	s := submissions(loads.all(), before)
	r.times("from the commit of a load until a run that it causes is submitted", s.submit)
	r.more("runs", float64(s.runs), "")
	r.more("runs_per_second", float64(s.runs)/r.file.Duration.Seconds(), "/s")
	r.more("utilisation", float64(s.runs)/r.file.Duration.Seconds()/capacity, "")
	r.more("publish_p50", s.publish.Quantile(50), "ms")
	r.more("publish_p99", s.publish.Quantile(99), "ms")
	r.more("untold", float64(s.untold), "")
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

// capacity has every derived table run at once, and returns how many runs there
// are a second then.
func (r *rig) capacity(ctx context.Context, p *product, loads *tailer, g *workload.Generator) (float64, error) {
	r.tell("saturate", 0, 0)
	before := len(loads.all())
	watch := measure.Begin(r.pids)
	// So many that no core table is left out but by a great chance.
	txs := make([]workload.Tx, 10*r.file.Workload.Tables)
	read := loads.events()
	for i := range txs {
		txs[i] = g.Next(1, time.Now())
		read += int64(len(txs[i]))
	}
	if err := r.db.Write(ctx, txs...); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	// The status counts the rows of all tables, and would be in the way of the runs.
	for deadline := time.Now().Add(r.Patience); loads.events() < read; {
		if time.Now().After(deadline) || p.Ended() {
			return 0, fmt.Errorf("saturate: the changes were not loaded within %s\n%s", r.Patience, p.Log())
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := r.awaitDerived(ctx, p, loads); err != nil {
		return 0, err
	}
	_, processes := watch.End()
	var first, last time.Time
	runs := 0
	for _, e := range loads.all()[before:] {
		if isCore(e) || e.Load == 0 {
			continue
		}
		runs++
		if first.IsZero() || e.StartedAt.Before(first) {
			first = e.StartedAt
		}
		if e.CommittedAt.After(last) {
			last = e.CommittedAt
		}
	}
	if runs == 0 {
		return 0, errors.New("saturate: no derived table ran")
	}
	capacity := float64(runs) / last.Sub(first).Seconds()
	r.more("capacity", capacity, "runs/s")
	r.more("cpu_per_run", 1000*measure.Of(processes, "millrace").CPUSeconds/float64(runs), "cpu-ms")
	return capacity, nil
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

// submitted is what the events tell of how loads led to runs.
type submitted struct {
	submit, publish *measure.Histogram // a sample for every load and every table that reads it
	runs            int
	// untold are samples that are left out. A load that was committed while a run
	// of the table was going on and is not among its causes may have been seen by
	// it all the same; then the run that it causes changes nothing, and no event
	// tells of that one.
	untold int
}

// submissions are the times from each load until the first run that has it was
// submitted, and until that was committed. A run stands for all loads since the
// run before, and each of them has waited by itself. Loads before the given
// number were there before.
func submissions(loads []schemas.LoadComplete, before int) submitted {
	s := submitted{submit: measure.NewHistogram(), publish: measure.NewHistogram()}
	committed := map[schemas.Cause]time.Time{}
	for _, e := range loads[before:] {
		if isCore(e) && e.Rows.Applied > 0 {
			committed[schemas.Cause{Table: e.Table, Load: e.Load}] = e.CommittedAt
		}
	}
	last := map[string]schemas.LoadComplete{} // by derived table
	caused := map[string]map[string]int64{}   // by derived table and input
	for i, e := range loads {
		if isCore(e) || e.Load == 0 || e.Load <= last[e.Table].Load {
			continue
		}
		if i >= before {
			s.runs++
		}
		if caused[e.Table] == nil {
			caused[e.Table] = map[string]int64{}
		}
		was := last[e.Table]
		for _, c := range e.Cause {
			for load := caused[e.Table][c.Table] + 1; load <= c.Load; load++ {
				at, there := committed[schemas.Cause{Table: c.Table, Load: load}]
				switch {
				case !there:
				case was.StartedAt.Before(at) && at.Before(was.CommittedAt):
					s.untold++
				default:
					s.submit.Add(max(e.StartedAt.Sub(at), 0))
					s.publish.Add(e.CommittedAt.Sub(at))
				}
			}
			caused[e.Table][c.Table] = c.Load
		}
		last[e.Table] = e
	}
	return s
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
