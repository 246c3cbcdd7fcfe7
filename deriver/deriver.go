package deriver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"millrace/deriver/audit"
	"millrace/deriver/graph"
	"millrace/deriver/strategy"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// Options are what a Deriver is made of.
type Options struct {
	Node     *graph.Node
	Runner   warehouse.Runner
	Spelling warehouse.Spelling
	// Announce makes an event known. It is called after the commit, again after
	// a crash, and before the next commit: at least once, in order (G6).
	Announce func(context.Context, schemas.LoadComplete) error
	// Revision of the specs: a deriver whose revision is below the head's stays
	// out. Negative: the head's own.
	Revision  int64
	Freshness time.Duration // the warehouse's default
	Poll      time.Duration // how long to believe that nothing has come; zero: 10 s
	Metrics   *Metrics      // nil: none
	Logger    *slog.Logger  // nil: silent
	Now       func() time.Time
}

// Deriver keeps one derived table up to date.
type Deriver struct {
	opts     Options
	log      *slog.Logger
	strategy *strategy.Strategy
	table    warehouse.DerivedTable
	checks   []warehouse.Check
	pace     pace
	wake     chan struct{}

	// Owned by the loop.
	state       *state
	needed      map[string]time.Time // when the needs of an input were written down
	failed      []warehouse.Dirt     // windows whose run failed are to be held
	keyHold     *warehouse.Dirt      // keys whose run failed are to be held
	keyFailures int
	reported    time.Time // the complete time that was announced
	gathered    time.Time // when loads were drained last; zero: never
	looked      bool      // for rows before a begin that was found
	earlier     time.Time // the first window that they belong to; zero: there are none
	asked       time.Time // when the table's turn was asked for
	leave       func()    // gives the turn back; nil: it is not this table's

	mu     sync.Mutex
	told   map[string]time.Time // complete times from progress messages
	status Status
}

// New returns a Deriver that has not run yet.
func New(opts Options) (*Deriver, error) {
	if opts.Node.Columns == nil {
		return nil, fmt.Errorf("derive %s: the columns of its inputs are not known", opts.Node.Spec.Name)
	}
	p, err := newPace(opts.Node, opts.Freshness)
	if err != nil {
		return nil, err
	}
	if opts.Poll <= 0 {
		opts.Poll = 10 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	st := strategy.New(opts.Node, opts.Spelling)
	return &Deriver{
		opts: opts, log: opts.Logger.With("table", opts.Node.Spec.Name), strategy: st, table: st.Table(),
		checks: audit.Checks(opts.Node, opts.Spelling), pace: p, wake: make(chan struct{}, 1),
		needed: make(map[string]time.Time), told: make(map[string]time.Time),
		status: Status{Table: opts.Node.Spec.Name, Waiting: "to start"},
	}, nil
}

// Needs are what the loads of each input of the node must keep, for the node
// to follow them. A deriver writes them down by itself; doing it before the
// consumers start spares a computation of everything.
func Needs(n *graph.Node) map[string]warehouse.Kept {
	out := make(map[string]warehouse.Kept)
	for _, in := range n.Inputs {
		var k warehouse.Kept
		for _, m := range in.Mappings {
			if m.Kind == graph.Partitions {
				k.EventTimes = append(k.EventTimes, m.EventTime.Name)
			}
			k.Changes = append(k.Changes, m.Changes...)
		}
		out[in.Table] = k
	}
	return out
}

// Notify tells of a load or of progress of any table. It never blocks; what it
// says may repeat, be late or be left out: the warehouse knows better.
func (d *Deriver) Notify(e schemas.LoadComplete) {
	if d.opts.Node.Input(e.Table) == nil {
		return
	}
	d.mu.Lock()
	if e.Load == 0 && d.told[e.Table].Before(e.CompleteThrough.Time) {
		d.told[e.Table] = e.CompleteThrough.Time
	}
	urgent := e.Load > 0 || d.opens(e.CompleteThrough.Time)
	d.mu.Unlock()
	if urgent {
		d.poke()
	}
}

// opens reports whether an input's progress up to a time may open a window, or end
// what the table waits for. Other progress is passed on when the table looks the
// next time: inputs may tell of it every second, and a thousand tables that each
// asked the warehouse then would leave it no time for anything else.
func (d *Deriver) opens(through time.Time) bool {
	if d.status.Waiting != "" || !d.status.Acquired {
		return true
	}
	w, frontier := d.opts.Node.Spec.Window, d.status.Frontier
	return w != nil && !frontier.IsZero() && frontier.Before(w.Grid.Instant(through).End)
}

func (d *Deriver) poke() {
	select {
	case d.wake <- struct{}{}:
	default: // it is awake already
	}
}

// Run keeps the table up to date until ctx ends, which is no error. It returns
// warehouse.ErrFenced or warehouse.ErrRevision when another writer has the
// table: then this one stays out. Any other trouble is retried.
func (d *Deriver) Run(ctx context.Context) error {
	d.opts.Metrics.begin(d.table.Name)
	defer d.opts.Metrics.end(d.table.Name)
	return d.loop(ctx)
}

func (d *Deriver) loop(ctx context.Context) error {
	failures := 0
	for {
		again, err := d.inTurn(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // asked to end
		case errors.Is(err, warehouse.ErrFenced) || errors.Is(err, warehouse.ErrRevision):
			d.fail(err)
			return fmt.Errorf("derive %s: %w", d.table.Name, err)
		case err != nil:
			failures++
			d.fail(err)
			d.opts.Metrics.retry(d.table.Name)
			d.log.Warn("derivation retried", "failures", failures, "err", err)
			d.forget()
			again = d.opts.Now().Add(min(backoff(failures), time.Minute))
		default:
			failures = 0
		}
		if !d.sleep(ctx, d.rest(again), true) || !d.sleep(ctx, again, err != nil) {
			return nil
		}
	}
}

// forget leaves the state: what the warehouse holds is what counts. What the
// loads touched outside of the windows it does not hold, so that is looked for.
func (d *Deriver) forget() {
	if d.state != nil && d.state.outside > 0 {
		d.looked = false
	}
	d.state = nil
}

// inTurn waits for the table's turn, and only then looks what has come: all of it
// is of one run.
func (d *Deriver) inTurn(ctx context.Context) (again time.Time, err error) {
	d.asked = d.opts.Now().UTC()
	if d.leave, err = d.opts.Runner.Turn(ctx); err != nil {
		return again, err
	}
	defer d.endTurn()
	select {
	case <-d.wake: // for what the cycle is about to find
	default:
	}
	return d.cycle(ctx)
}

// endTurn lets others have the warehouse, at the latest while an event is
// announced.
func (d *Deriver) endTurn() {
	if d.leave != nil {
		d.leave()
		d.leave = nil
	}
}

// maxRest is for how long a table does not look for loads, at most.
const maxRest = time.Minute

// rest is until when loads gather after some were drained: nothing new may run
// within the freshness, and in a warehouse that charges each look has its price.
// What was planned for earlier counts. Zero: there is no rest.
func (d *Deriver) rest(again time.Time) time.Time {
	if d.gathered.IsZero() || d.pace.freshness == 0 {
		return time.Time{}
	}
	return sooner(d.gathered.Add(min(d.pace.freshness, maxRest)), again)
}

// sleep waits until the time, a wake-up unless deaf, or the poll interval. It
// reports false when ctx has ended.
func (d *Deriver) sleep(ctx context.Context, until time.Time, deaf bool) bool {
	wait := d.opts.Poll
	if !until.IsZero() {
		wait = min(wait, until.Sub(d.opts.Now()))
	} else if deaf {
		wait = 0
	}
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	wake := d.wake
	if deaf {
		wake = nil
	}
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// cycle drains, marks, and only then runs. It returns when to come back at the
// latest; zero: when something comes.
func (d *Deriver) cycle(ctx context.Context) (again time.Time, err error) {
	defer func() { d.report(again) }()
	if d.state == nil {
		if err := d.acquire(ctx); err != nil {
			return again, err
		}
		d.showAcquired()
	}
	now := d.opts.Now().UTC()
	states, err := d.inputs(ctx)
	if err != nil {
		return again, err
	}
	if len(d.state.waiting) > 0 && !d.state.started() {
		return again, nil
	}
	if !d.state.started() {
		if err := d.start(ctx, states, now); err != nil || !d.state.started() {
			return again, err
		}
		return now, nil
	}
	if err := d.drain(ctx, states, now); err != nil {
		return again, err
	}
	if len(d.state.waiting) > 0 { // a snapshot runs: only dirt is collected
		return again, nil
	}
	return d.step(ctx, now)
}

// acquire takes the table over and repeats its last announcement, which may not
// have been made.
func (d *Deriver) acquire(ctx context.Context) error {
	head, err := d.opts.Runner.Acquire(ctx, d.table, d.opts.Revision)
	if err != nil {
		return err
	}
	dirt, keys, err := d.opts.Runner.Dirt(ctx, d.table)
	if err != nil {
		return err
	}
	if head.Load > 0 {
		last, err := d.opts.Runner.Loads(ctx, d.table.Name, head.Load-1, 1)
		if err != nil {
			return err
		}
		if err := d.repeat(ctx, last); err != nil {
			return err
		}
	}
	alone := make(map[time.Time]bool)
	if d.state != nil {
		alone = d.state.alone
	}
	d.forget()
	d.state = newState(d.opts.Node, head, dirt, keys)
	d.state.alone = alone
	return nil
}

// repeat announces again, and lets others have the warehouse meanwhile.
func (d *Deriver) repeat(ctx context.Context, events []schemas.LoadComplete) (err error) {
	inTurn := d.leave != nil
	d.endTurn()
	for _, e := range events {
		if err := d.opts.Announce(ctx, e); err != nil {
			return fmt.Errorf("announce load %d of %s: %w", e.Load, e.Table, err)
		}
	}
	if inTurn {
		d.leave, err = d.opts.Runner.Turn(ctx)
	}
	return err
}
