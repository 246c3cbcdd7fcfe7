package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/internal/config"
	"millrace/internal/privateserver"
	"millrace/internal/verify"
)

// Options is how the demonstration is run.
type Options struct {
	Out io.Writer
	// Keep leaves everything running in the end, until ctx ends; also when
	// something went wrong, so that one can look at it.
	Keep bool
	// MongoDB is the connection string of one in which a database is made for the
	// time of the demonstration; empty: there is none, and orders live elsewhere.
	MongoDB string
	// Without are kinds of databases, as a configuration has them, to do without:
	// what they would hold lives elsewhere.
	Without []string
	// Command is the binary and what stands before its arguments; empty: the
	// running binary.
	Command []string
	// Warehouse is a file with the section warehouse: of a configuration; empty:
	// the DuckDB of the example.
	Warehouse string
	Seed      uint64 // of the workload; 0: 1
}

// ErrFailed is the reason when the demonstration has shown something else than
// it should. What, it has printed.
var ErrFailed = errors.New("the demonstration failed")

// demo is one demonstration.
type demo struct {
	Options
	began   time.Time
	home    *privateserver.Home
	places  *places
	shop    *shop
	install *install
	work    *workload
	conf    *config.Config // of install
	specs   []*verify.Spec
	prefix  string
	// warehouse is the configuration's section; nil: DuckDB.
	warehouse map[string]any
	result    summary
}

// Run runs the demonstration and cleans up behind it, also when it does not
// succeed or ctx ends. Its last line says how it went: "demo: ok" or
// "demo: failed", and the numbers.
func Run(ctx context.Context, o Options) error {
	d := &demo{Options: o, began: time.Now()}
	err := d.run(ctx)
	interrupted := ctx.Err() != nil
	if err != nil && !interrupted {
		d.say("\n%v", err)
	}
	if d.Keep && !interrupted && d.install != nil && d.install.child != nil && d.install.ended() == nil {
		d.keep(ctx)
	}
	if closing := d.close(); closing != nil {
		d.say("\n%v", closing)
		err = errors.Join(err, closing)
	}
	switch {
	case err != nil && interrupted:
		d.say("\ndemo: failed interrupted%s", d.result.reached())
		return ErrFailed
	case err != nil:
		d.say("\ndemo: failed%s", d.result.reached())
		return ErrFailed
	}
	d.say("\n%s", d.result.sentence())
	d.say("demo: ok %s", &d.result)
	return nil
}

// aboutMongoDB says which one it is, if there is one.
func (d *demo) aboutMongoDB() string {
	if d.MongoDB == "" || slices.Contains(d.Without, config.KindMongoDB) {
		return ""
	}
	return " The MongoDB is that of MONGODB_URI, which make demo sets, unless you do, to that\n" +
		"         of a stand-in: the server of the tests."
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

// step says what happens, and why it matters.
func (d *demo) step(what, why string, args ...any) {
	d.say("\n[%5.1fs] %s", time.Since(d.began).Seconds(), what)
	d.say("         "+why, args...)
}

func (d *demo) close() error {
	var errs []error
	if d.install != nil {
		errs = append(errs, d.install.stop(), os.RemoveAll(d.install.dir))
	}
	if d.places != nil {
		errs = append(errs, d.places.close())
	}
	if d.home != nil {
		errs = append(errs, d.home.Close())
	}
	return errors.Join(errs...)
}

func (d *demo) run(ctx context.Context) error {
	if err := d.chooseWarehouse(); err != nil {
		return err
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if err := d.writeWhileItRuns(ctx); err != nil {
		return err
	}
	fresh, err := d.measure(ctx)
	if err != nil {
		return err
	}
	if err := d.show(ctx); err != nil {
		return err
	}
	d.printFreshness(fresh)
	if err := d.prove(ctx); err != nil {
		return err
	}
	return d.result.fault()
}

// chooseWarehouse reads which one is meant. A warehouse that outlives the
// demonstration may hold somebody's tables: under a prefix that nobody else has,
// millrace refuses to touch core tables that are not its own.
func (d *demo) chooseWarehouse() (err error) {
	d.prefix, d.warehouse = defaultPrefix, nil
	if d.Warehouse == "" {
		return nil
	}
	d.prefix += "_" + strings.ToLower(rand.Text()[:8])
	d.warehouse, err = readWarehouse(d.Warehouse)
	return err
}

// prepare starts databases, fills them, and starts millrace on them.
func (d *demo) prepare(ctx context.Context) error {
	d.step("Databases", "Private servers in a temporary folder. Data split across services is the problem that Millrace\n"+
		"         solves.%s", d.aboutMongoDB())
	if err := d.openShop(ctx); err != nil {
		return err
	}
	for _, line := range d.shop.held() {
		d.say("         %s", line)
	}
	if err := d.shop.createTables(ctx); err != nil {
		return err
	}
	d.work = newWorkload(d.shop, max(d.Seed, 1))
	if err := d.work.seed(ctx); err != nil {
		return err
	}
	d.say("         %d customers, %d items, %d orders, %d payments and %d refunds over %d days; on %d of the days nothing was paid.",
		customers, items, len(d.work.orders), len(d.work.payments), len(d.work.refunds), days, len(quietDays))
	d.work.counts = Counts{} // the past is not part of the demonstration

	dir, err := os.MkdirTemp("", "millrace-demo-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	d.install = &install{dir: dir, command: d.Command, env: d.shop.environment()}
	if len(d.Command) == 0 {
		own, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the running binary: %w", err)
		}
		d.install.command = []string{own}
	}
	if err := writeExample(dir, d.shop.at, d.prefix, d.warehouse); err != nil {
		return err
	}
	if d.conf, err = config.Load(filepath.Join(dir, "millrace.yaml"), d.install.lookup); err != nil {
		return err
	}
	if d.specs, err = verify.ReadSpecs(filepath.Join(dir, "derived")); err != nil {
		return err
	}
	started := time.Now()
	if err := d.install.start(ctx); err != nil {
		return err
	}
	holds := "Broker, schema registry, warehouse, capture, load and derive in one process"
	if d.bigQuery() {
		holds = "Broker, schema registry, capture, load and derive in one process"
	}
	d.step("millrace up", "%s, ready after %d ms. The warehouse is %s.\n"+
		"         The rows that were there before are read in chunks beside the stream of changes.", holds, time.Since(started).Milliseconds(), d.place())
	return d.whereToLook()
}

func (d *demo) openShop(ctx context.Context) (err error) {
	if d.home, err = privateserver.NewHome(); err != nil {
		return err
	}
	if d.places, err = newPlaces(d.home, d.MongoDB, d.Without); err != nil {
		return err
	}
	d.shop, err = openShop(ctx, d.places)
	return err
}

// The random part of the workload.
const (
	steps     = 1500
	stepEvery = 20 * time.Millisecond
)

// writeWhileItRuns makes everything happen that is hard to get right.
func (d *demo) writeWhileItRuns(ctx context.Context) error {
	d.step("Writing", "Inserts, updates, deletes and key changes; payments that come days late, move to another day,\n"+
		"         or come before their orders: each must change exactly the derived rows that it touches.")
	scripted := map[int]func() error{
		60:   func() error { return d.work.emptyDay(ctx, emptiedDays[0]) },
		120:  func() error { return d.work.emptyCustomer(ctx, emptiedCustomers[0]) },
		300:  d.kill,
		340:  func() error { return d.work.emptyDay(ctx, emptiedDays[1]) }, // nobody listens
		380:  func() error { return d.restart(ctx) },
		700:  func() error { return d.changeSchema(ctx) },
		900:  func() error { return d.work.emptyCustomer(ctx, emptiedCustomers[1]) },
		1050: func() error { return d.work.emptyDay(ctx, emptiedDays[2]) },
		1250: func() error { return d.shop.orders.images(ctx, true) },
	}
	tick := time.NewTicker(stepEvery)
	defer tick.Stop()
	for n := range steps {
		act := func() error { return d.work.step(ctx) }
		if special, ok := scripted[n]; ok {
			act = special
		}
		if err := act(); err != nil {
			return err
		}
		if d.install.child == nil {
			time.Sleep(stepEvery)
			continue
		}
		if err := d.install.ended(); err != nil {
			return err
		}
		<-tick.C
	}
	d.say("         %d changes so far.", d.work.counts.Changes)
	return nil
}

func (d *demo) kill() error {
	d.step("kill -9", "The process dies at once, with transactions open, while the shop keeps writing.\n"+
		"         Nothing may be lost, and nothing may be counted twice.")
	d.work.counts.Kills++
	return d.install.kill()
}

func (d *demo) restart(ctx context.Context) error {
	started := time.Now()
	if err := d.install.start(ctx); err != nil {
		return err
	}
	d.say("         Started again, ready after %d ms.", time.Since(started).Milliseconds())
	return d.whereToLook() // the port is another one
}

func (d *demo) changeSchema(ctx context.Context) error {
	d.step("ALTER TABLE", "A column with a default changes every customer without a word in the log: customers are read again.\n"+
		"         A column without one, on payments, is a new version of the schema and no more.\n"+
		"         Orders have a new field; and for a while their log carries no more than what an update changes.")
	return d.work.changeSchema(ctx)
}

// measure writes in an open loop and says how soon its changes could be read.
func (d *demo) measure(ctx context.Context) (*freshness, error) {
	if _, err := d.await(ctx); err != nil {
		return nil, err
	}
	d.step("Freshness", "%d changes a second for %s on a schedule fixed in advance, so that a stall shows as latency.", rate, loopFor)
	probes, err := d.work.openLoop(ctx, loopTotal, d.install.child.done)
	if err := errors.Join(err, d.install.ended()); err != nil {
		return nil, err
	}
	d.step("Quiet", "The shop stops writing; what is on its way arrives.")
	client, err := d.await(ctx)
	if err != nil {
		return nil, err
	}
	d.result.Counts = d.work.counts
	fresh, err := measure(ctx, client, probes)
	if err != nil {
		return nil, err
	}
	d.result.core, d.result.derived, d.result.lost = fresh.core, fresh.derived, fresh.lost
	return fresh, nil
}

// prove compares everything with what it should be.
func (d *demo) prove(ctx context.Context) error {
	run, err := d.install.runFile()
	if err != nil {
		return err
	}
	d.step("Proof", "The sources' rows, copied by plain SQL drivers into a fresh DuckDB; each window of the calendar\n"+
		"         computed alone, keys with all keys dirty, append tables from the events on the topic.")
	client := d.install.client(run)
	frontier, err := d.frontier(ctx)
	if err != nil {
		return err
	}
	p := &proof{
		client: verify.On{Platform: client, BigQuery: d.bigQuery()}, conf: d.conf, run: run, dir: d.install.dir, specs: d.specs,
		calendar: verify.Calendar{Begin: d.work.begin, End: frontier},
	}
	core, derived, err := p.compare(ctx)
	if err != nil {
		return err
	}
	d.result.coreTables, d.result.derivedTables = len(core), len(derived)
	for _, report := range slices.Concat(core, derived) {
		d.printReport(report)
		if report.Rows == 0 {
			d.result.empty = append(d.result.empty, report.Table)
		}
		d.result.mismatches += len(report.Differences)
	}
	if d.work.counts.QuietDays, err = d.work.quietDays(ctx); err != nil {
		return err
	}
	d.result.QuietDays = d.work.counts.QuietDays
	if d.bigQuery() && d.standIn() == "" {
		d.say("         These tables stay in %s: datasets core, core__base, analytics, millrace, millrace_scratch.", d.place())
	}
	return nil
}
