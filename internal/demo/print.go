package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"millrace/internal/page"
	"millrace/internal/verify"
)

const (
	rowsShown        = 5
	differencesShown = 5
	widest           = 28 // a value that is shown
)

// show prints the first rows of every table.
func (d *demo) show(ctx context.Context) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	type shown struct{ name, order string }
	var tables []shown
	for _, t := range captured(d.conf) {
		tables = append(tables, shown{t.Core, "id DESC"})
		if t.History != "" {
			tables = append(tables, shown{t.History, "_ts DESC, _pos DESC"})
		}
	}
	for _, spec := range inOrder(d.specs) {
		order := "1 DESC, 2"
		if spec.Window == nil {
			order = "1"
		}
		tables = append(tables, shown{spec.Name, order})
	}
	d.step("Tables", "Some rows of what the warehouse now holds.")
	for _, t := range tables {
		rows, err := client.Query(ctx, fmt.Sprintf("SELECT * FROM %s ORDER BY %s LIMIT %d", t.name, t.order, rowsShown))
		if err != nil {
			return fmt.Errorf("read %s: %w", t.name, err)
		}
		count, err := client.Query(ctx, "SELECT count(*) FROM "+t.name)
		if err != nil {
			return fmt.Errorf("count %s: %w", t.name, err)
		}
		d.say("\n%s, %s rows", t.name, *count.Rows[0][0])
		shorten(rows)
		if err := rows.Write(d.Out); err != nil {
			return fmt.Errorf("print %s: %w", t.name, err)
		}
	}
	return nil
}

func shorten(t *page.Table) {
	for _, row := range t.Rows {
		for i, v := range row {
			if v != nil && len(*v) > widest {
				short := (*v)[:widest-1] + "…"
				row[i] = &short
			}
		}
	}
}

func (d *demo) printFreshness(f *freshness) {
	d.step("How fresh", "From the return of COMMIT at the source to the commit that made it readable.")
	for _, line := range []struct {
		name string
		l    latencies
	}{{"core tables", f.core}, {"derived tables", f.derived}} {
		d.say("         %-15s p50 %6d ms   p99 %6d ms   of %d changes", line.name,
			line.l.percentile(50).Milliseconds(), line.l.percentile(99).Milliseconds(), len(line.l))
	}
	d.say("         %-15s p50 %6d ms   p99 %6d ms   behind its schedule", "the writer",
		f.late.percentile(50).Milliseconds(), f.late.percentile(99).Milliseconds())
	if bytes := d.install.memory(); bytes > 0 {
		d.say("         millrace held at most %d MB of memory.", bytes>>20)
	}
}

func (d *demo) printReport(r verify.Report) {
	if len(r.Differences) == 0 {
		d.say("         equal      %-32s %6d rows", r.Table, r.Rows)
		return
	}
	d.say("         DIFFERENT  %-32s %6d rows, %d differences", r.Table, r.Rows, len(r.Differences))
	for i, difference := range r.Differences {
		if i == differencesShown {
			d.say("             … and %d more", len(r.Differences)-i)
			break
		}
		d.say("             %s", difference)
	}
}

func (d *demo) client() (*page.Client, error) {
	run, err := d.install.runFile()
	if err != nil {
		return nil, err
	}
	return d.install.client(run), nil
}

// await waits until nothing is left to do.
func (d *demo) await(ctx context.Context) (*page.Client, error) {
	client, err := d.client()
	if err != nil {
		return nil, err
	}
	return client, awaitQuiet(ctx, d.install, client, d.shop, d.conf, d.specs)
}

// frontier is the time up to which every core table is complete: its day is
// the last of the calendar.
func (d *demo) frontier(ctx context.Context) (time.Time, error) {
	client, err := d.client()
	if err != nil {
		return time.Time{}, err
	}
	status, err := client.Status(ctx)
	if err != nil {
		return time.Time{}, err
	}
	least := time.Now()
	for _, c := range status.Core {
		if c.Complete.Time.Before(least) {
			least = c.Complete.Time
		}
	}
	if behind := time.Since(least); behind > time.Minute {
		return time.Time{}, fmt.Errorf("the core tables are complete only up to %s ago", behind.Round(time.Second))
	}
	return least.UTC(), nil
}

// whereToLook says where one can look while the demonstration runs.
func (d *demo) whereToLook() error {
	run, err := d.install.runFile()
	if err != nil {
		return err
	}
	d.say("         status page   http://%s", run.HTTP)
	d.say("         configuration %s", filepath.Join(d.install.dir, "millrace.yaml"))
	return nil
}

// keep tells how to go on by hand, and waits.
func (d *demo) keep(ctx context.Context) {
	run, err := d.install.runFile()
	if err != nil {
		d.say("%v", err)
		return
	}
	d.step("It stays", "Everything keeps running until you press Ctrl-C.")
	d.say(`
  status page   http://%s
  Kafka         %v
  schemas       %s
  configuration %s/millrace.yaml
%s
Change a row by hand:

  psql '%s' -c "UPDATE customers SET country = 'Iceland' WHERE id = 1"

and see it arrive:

  %s sql --config %s/millrace.yaml "SELECT * FROM analytics.customer_value WHERE customer_id = 1"

status and sql need no more than the configuration. verify reads the sources and check
asks them, so they want the sources' addresses in the environment:

%s
`, run.HTTP, run.Kafka, run.Registry, d.install.dir, d.addresses(),
		d.shop.at["catalog_db"].dsn, d.install.command[0], d.install.dir, exports(d.shop.environment()))
	<-ctx.Done()
}

// addresses are those of the sources, a line for each.
func (d *demo) addresses() string {
	var b strings.Builder
	for _, service := range services() {
		fmt.Fprintf(&b, "  %-13s %s\n", service.source, d.shop.at[service.source].dsn)
	}
	return b.String()
}

// exports are the lines that put the entries into a shell's environment.
func exports(environment []string) string {
	var lines []string
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		lines = append(lines, fmt.Sprintf("  export %s='%s'", name, strings.ReplaceAll(value, "'", `'\''`)))
	}
	return strings.Join(lines, "\n")
}
