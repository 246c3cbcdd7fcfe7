package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/internal/page"
	"millrace/internal/testkit"
)

// pod is a part of Millrace in a process of its own, with its own environment.
type pod struct {
	*child
	out lockedBuffer
}

// pod starts a part; env is what is set beside the tests' own environment.
func (i *install) pod(env string, args ...string) *pod {
	i.t.Helper()
	p := &pod{child: &child{i.command(args...), make(chan struct{})}}
	p.Stdout, p.Stderr = &p.out, &p.out
	p.Env = append(p.Env, env)
	if err := p.Start(); err != nil {
		i.t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		close(p.exited)
	}()
	i.t.Cleanup(func() {
		if i.t.Failed() {
			p.end(syscall.SIGQUIT) // its output then says what waits for what
		}
		p.end(syscall.SIGKILL)
		if i.t.Failed() {
			i.t.Logf("millrace %v:\n%s", args, p.out.String())
		}
	})
	return p
}

// addr is where the part serves HTTP; empty until it says so.
func (p *pod) addr() string {
	_, said, _ := strings.Cut(p.out.String(), ": http://")
	addr, _, _ := strings.Cut(said, "/")
	return addr
}

// probe asks a probe; it answers false where nothing listens.
func (p *pod) probe(path string) (ok bool, why string) {
	resp, err := http.Get("http://" + p.addr() + path)
	if err != nil {
		return false, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode == http.StatusOK, string(body)
}

func (i *install) awaitReady(pods ...*pod) {
	i.t.Helper()
	for _, p := range pods {
		i.await(fmt.Sprintf("%v is ready", p.Args[1:]), func() bool {
			ok, _ := p.probe("/readyz")
			return ok
		})
		if ok, why := p.probe("/healthz"); !ok {
			i.t.Errorf("%v is not healthy: %s", p.Args[1:], why)
		}
	}
}

// owns are the core tables that a consumer has taken over.
func (p *pod) owns(t *testing.T) (tables []string) {
	client := page.Client{Addr: p.addr()}
	defer client.HTTP.CloseIdleConnections()
	status, err := client.Status(t.Context())
	if err != nil {
		return nil
	}
	for _, c := range status.Core {
		if c.Owned {
			tables = append(tables, c.Table)
		}
	}
	return tables
}

// podsInstall is a platform of three sources on a BigQuery and a broker that
// outlive its parts; query asks the warehouse.
func podsInstall(t *testing.T, payments string, specs map[string]string) (i *install, query func(string) ([]string, error)) {
	t.Helper()
	fake, section := startBigQuery(t)
	brokers := testkit.KafkaCluster(t).ListenAddrs()
	return newInstall(t, fmt.Sprintf(`prefix: pods
data: ./data
http: 127.0.0.1:0
sources:
  orders_db: {kind: postgres, dsn: "${ORDERS_DSN}", tables: {public.orders: {event_time: day}}}
  notes_db: {kind: postgres, dsn: "${NOTES_DSN}", tables: {public.notes: {event_time: day, history: core.notes_history}}}
  payments_db: {kind: mariadb, dsn: "${PAYMENTS_DSN}", tables: {%s.payments: {}}}
groups: {big: ["core.pay*"]}
derived: ./derived
%skafka: {brokers: [%q]}
registry: {url: %q}
`, payments, section, brokers[0], serveSchemas(t, brokers)), specs), reader(t, fake)
}

// Each source, each group of consumers and each derived table is a process of its
// own, on one configuration and one folder of specs, with no secret that is
// another's. A table moves to another group while both run, and a derived table
// to another revision.
func TestPods(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: starts many processes")
	}
	pgDSN, otherDSN, myDSN := testkit.PostgresDatabase(t), testkit.PostgresDatabase(t), testkit.MariaDBDatabase(t)
	table := func(dsn, create, name, daily string) (rows, days *shop) {
		db := testkit.Open(t, dsn)
		rows = &shop{db: db, name: name, core: "SELECT id, amount, note FROM core." + name[strings.Index(name, ".")+1:] + " ORDER BY id"}
		rows.source = fmt.Sprintf("SELECT id || '|' || amount || '|' || coalesce(note, 'NULL') FROM %s ORDER BY id", name)
		if !strings.Contains(name, ".") {
			rows.source = fmt.Sprintf("SELECT concat(id, '|', amount, '|', coalesce(note, 'NULL')) FROM %s ORDER BY id", name)
		}
		rows.days = daily != ""
		rows.exec(t, create)
		return rows, &shop{
			db: db, name: daily, core: "SELECT day, n FROM " + daily + " ORDER BY day",
			source: fmt.Sprintf("SELECT day || '|' || count(*) FROM %s GROUP BY day ORDER BY day", name),
		}
	}
	const columns = " (id bigint PRIMARY KEY, amount numeric(12,2) NOT NULL, note text, day date NOT NULL DEFAULT '2026-02-01')"
	orders, daily := table(pgDSN, "CREATE TABLE public.orders"+columns, "public.orders", "analytics.daily")
	notes, noted := table(otherDSN, "CREATE TABLE public.notes"+columns, "public.notes", "analytics.noted")
	payments, _ := table(myDSN, "CREATE TABLE payments (id bigint PRIMARY KEY, amount decimal(12,2) NOT NULL, note text)", "payments", "")
	shops := []*shop{orders, notes, payments, daily, noted}

	const spec = "name: %s\nowner: t\nwindow: {size: day, begin: 2026-02-01}\ninputs: {%s: day}\nquery: SELECT day, COUNT(*) AS n FROM %[2]s GROUP BY 1\npod: {cpu: 500m, memory: 1Gi}\n"
	i, query := podsInstall(t, myDSN[strings.LastIndex(myDSN, "/")+1:], map[string]string{
		"derived/daily.yaml":  fmt.Sprintf(spec, "analytics.daily", "core.orders"),
		"derived/noted.yaml":  fmt.Sprintf(spec, "analytics.noted", "core.notes"),
		"derived/broken.yaml": "name: other.broken\nquery: SELECT n FROM core.nowhere\npod: {replicas: 2}\n",
	})
	first, err := i.command("init").CombinedOutput()
	if err != nil {
		t.Fatalf("init: %v: %s", err, first)
	}
	for _, want := range []string{
		"made   topic pods.orders_db.positions\n", "made   topic pods.notes_db.public.notes\n", "made   topic pods.loads\n", "made   dataset millrace\n",
		"made   dataset core__base\n", "made   dataset analytics\n", "later  table core.notes_history, by millrace consume", "later  schema of pods.orders_db.public.orders, by millrace produce",
		"later  what broken.yaml needs: the spec has faults",
	} {
		if !strings.Contains(string(first), want) {
			t.Errorf("init does not say %q:\n%s", want, first)
		}
	}
	second, err := i.command("init").CombinedOutput()
	if err != nil || strings.Contains(string(second), "made ") || strings.ReplaceAll(string(first), "made ", "there") != string(second) {
		t.Errorf("init again: %v: %s", err, second)
	}
	for want, args := range map[string][]string{
		"there is no source order_db: did you mean orders_db? known are notes_db, orders_db, payments_db": {"produce", "order_db"},
		"there is no group of consumers huge: known are default, big":                                     {"consume", "default", "huge"},
		"there is no derived table analytics.dialy: did you mean analytics.daily?":                        {"derive", "analytics.dialy"},
		"sources.orders_db.dsn: needs the environment variable ORDERS_DSN":                                {"produce", "orders_db"},
		"there is no table core.nowhere":                                                                  {"derive", "other.broken"},
		"--revision: write a number from 1":                                                               {"derive", "--revision", "0"},
	} {
		if out, err := i.command(args...).CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}

	producers := []*pod{
		i.pod("ORDERS_DSN="+pgDSN, "produce", "orders_db"), i.pod("NOTES_DSN="+otherDSN, "produce", "notes_db"), i.pod("PAYMENTS_DSN="+myDSN, "produce", "payments_db"),
	}
	rest, big := i.pod("", "consume", "default"), i.pod("", "consume", "big")
	days, more := i.pod("", "derive", "analytics.daily", "--revision", "2"), i.pod("", "derive", "analytics.noted", "--revision", "2")
	all := append(slices.Clone(producers), rest, big, days, more)
	i.awaitReady(all...)
	i.await("the groups have their tables", func() bool {
		return slices.Equal(big.owns(t), []string{"core.payments"}) && slices.Equal(rest.owns(t), []string{"core.notes", "core.notes_history", "core.orders"})
	})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	write := func() {
		for range 20 {
			orders.write(t, rng)
			notes.write(t, rng)
			payments.write(t, rng)
		}
	}
	equal := func() {
		t.Helper()
		for _, s := range shops {
			i.awaitEqualIn(t, query, s)
		}
	}
	write()
	equal()

	// A table and its history go to another group while the members of both
	// configurations run.
	text, err := os.ReadFile(filepath.Join(i.dir, "millrace.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	i.write("next.yaml", strings.Replace(string(text), `"core.pay*"`, `"core.notes"`, 1))
	nextRest, nextBig := i.pod("", "consume", "default", "--config", "next.yaml"), i.pod("", "consume", "big", "--config", "next.yaml")
	i.awaitReady(nextRest, nextBig)
	write()
	for _, p := range []*pod{rest, big} {
		p.end(syscall.SIGTERM)
	}
	write()
	equal()
	i.await("the next groups have their tables", func() bool {
		return slices.Equal(nextBig.owns(t), []string{"core.notes", "core.notes_history"}) && slices.Equal(nextRest.owns(t), []string{"core.orders", "core.payments"})
	})
	history, err := query("SELECT COUNT(*), COUNT(DISTINCT _pos || _op) FROM core.notes_history")
	if err != nil {
		t.Fatal(err)
	}
	if n, distinct, _ := strings.Cut(history[0], "|"); n != distinct {
		t.Errorf("the history of the table that moved has %s rows, and %s are different", n, distinct)
	}

	// A later revision takes a derived table over: the earlier ends, and comes
	// back in vain.
	later := i.pod("", "derive", "analytics.daily", "--revision", "3")
	i.awaitReady(later)
	write() // it hears that it is fenced at its next run
	<-days.exited
	again := i.pod("", "derive", "analytics.daily", "--revision", "2")
	<-again.exited
	if code := again.ProcessState.ExitCode(); code != 1 || !strings.Contains(again.out.String(), "a later revision owns the table") {
		t.Errorf("the earlier revision ends with %d: %s", code, again.out.String())
	}
	if code := days.ProcessState.ExitCode(); code != 1 || !strings.Contains(days.out.String(), "derived table stays out") {
		t.Errorf("the revision that was fenced ends with %d: %s", code, days.out.String())
	}
	equal()
	for want, args := range map[string][]string{
		"core.orders":                           {"status", "--address", nextRest.addr()},
		"analytics.noted":                       {"status", "--address", more.addr()},
		"41":                                    {"sql", "SELECT 41 AS n", "--address", more.addr()},
		"AS `notes` GROUP BY 1":                 {"show", "analytics.noted", "--window", "2026-02-01", "--address", more.addr()},
		"core.orders is as it should be":        {"verify", "core.orders", "--address", nextRest.addr()},
		"core.notes_history is as it should be": {"verify", "core.notes_history", "--address", nextBig.addr()},
		"analytics.noted is as it should be":    {"verify", "analytics.noted", "--address", more.addr()},
	} {
		cmd := i.command(args...)
		cmd.Env = append(cmd.Env, "ORDERS_DSN="+pgDSN, "NOTES_DSN="+otherDSN, "PAYMENTS_DSN="+myDSN)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
	for _, p := range append(slices.Clone(producers), rest, big, nextRest, nextBig, later, more) {
		p.end(syscall.SIGTERM)
		if code := p.ProcessState.ExitCode(); code != 0 || !strings.Contains(p.out.String(), "msg=stopped") {
			t.Errorf("%v, asked to end, ends with %d", p.Args[1:], code)
		}
	}
	if _, err := os.Stat(filepath.Join(i.dir, "data")); !os.IsNotExist(err) {
		t.Errorf("parts that keep nothing have made the data folder (%v)", err)
	}
}
