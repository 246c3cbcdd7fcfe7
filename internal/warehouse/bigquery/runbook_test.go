package bigquery

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/auth"
	"google.golang.org/api/option"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// faulty brings a fault of the runbook about, and returns its cure.
type faulty func(t *testing.T, c *consumer) (cure func())

// Each fault of the runbook gives the message that the runbook quotes, and once it
// is cured as the runbook says, the same load succeeds and nothing is lost.
func TestRunbook(t *testing.T) {
	slow(t)
	quotes := runbook(t)
	all := faults()
	for title := range quotes {
		if all[title] == nil && !toldElsewhere[title] {
			t.Errorf("nothing brings about what the runbook calls %q", title)
		}
	}
	for title, f := range all {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			quote, ok := quotes[title]
			if !ok {
				t.Fatal("the runbook does not have it")
			}
			p := newProject(t)
			c := newConsumer(t, p)
			if err := c.load(t, time.Minute); err != nil {
				t.Fatal(err)
			}
			cure := f(t, c)
			for range 2 { // a retry changes neither the message nor the table
				if err := c.work(t); !matches(err, quote) {
					t.Fatalf("got  %v\nwant %s", err, quote)
				}
			}
			cure()
			for tries := 0; c.head.Load < 3; tries++ {
				if err := c.work(t); err != nil && tries > 10 {
					t.Fatal(err)
				}
			}
			c.check(t, 3)
		})
	}
}

// toldElsewhere are faults whose messages other tests compare with the runbook.
var toldElsewhere = map[string]bool{
	"There are no credentials": true, "The statement is too long": true, "The head of a derived table is gone": true, "A derived table is gone": true, "A value that no column can hold": true,
	"A change lacks a value": true, "A table in mode upsert was truncated": true, "A rewind goes too far back": true,
}

// work does what a consumer does after an error: it takes the table over, and
// loads. A table that is not there it makes.
func (c *consumer) work(t *testing.T) error {
	t.Helper()
	ctx := t.Context()
	head, err := c.p.w.Acquire(ctx, c.table.Name, "topic", "id")
	if errors.Is(err, warehouse.ErrNoTable) {
		if err = c.p.w.Ensure(ctx, c.table); err == nil {
			head, err = c.p.w.Acquire(ctx, c.table.Name, "topic", "id")
		}
	}
	if err != nil {
		return err
	}
	c.head = head
	return c.try(ctx, t)
}

// runbook are the messages that the runbook quotes, by their headings.
func runbook(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "runbooks", "bigquery.md"))
	if err != nil {
		t.Fatal(err)
	}
	quotes := map[string]string{}
	for _, section := range strings.Split(string(text), "\n### ")[1:] {
		title, rest, _ := strings.Cut(section, "\n")
		_, rest, _ = strings.Cut(rest, "```\n")
		quotes[title], _, _ = strings.Cut(rest, "\n```")
	}
	return quotes
}

// matches reports whether the error is the quote, in which … stands for any text.
func matches(err error, quote string) bool {
	if err == nil {
		return false
	}
	rest := err.Error()
	for i, part := range strings.Split(quote, "…") {
		at := strings.Index(rest, part)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return rest == "" || strings.HasSuffix(quote, "…")
}

func faults() map[string]faulty {
	always := func(point string, f bigqueryfake.Fault) faulty {
		return func(_ *testing.T, c *consumer) func() {
			c.p.w.opts.Patience = 20 * time.Millisecond
			for nth := range 300 {
				c.p.fake.On(point, nth+1, f)
			}
			return func() { c.p.fake.Off(point) }
		}
	}
	other := func(change func(t *testing.T, c *consumer, o *Options)) faulty {
		return func(t *testing.T, c *consumer) func() {
			right := c.p.w
			o := Options{Project: c.p.fake.Project(), Location: "US", Jobs: c.p.fake.ClientOptions(), Writes: c.p.fake.WriteOptions(), RetryWait: time.Millisecond, Patience: 20 * time.Millisecond}
			change(t, c, &o)
			wrong, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := wrong.Close(); err != nil {
					t.Error(err)
				}
			})
			c.p.w = wrong
			return func() { c.p.w = right }
		}
	}
	sql := func(change string, restart bool) faulty {
		return func(t *testing.T, c *consumer) func() {
			back := c.keep(t)
			c.define(t, change)
			if restart {
				c.p.crash(t)
			}
			return back
		}
	}
	return map[string]faulty{
		"The project is wrong":  other(func(_ *testing.T, _ *consumer, o *Options) { o.Project = "acme-date" }),
		"The location is wrong": other(func(_ *testing.T, _ *consumer, o *Options) { o.Location = "EU" }),
		"Something else answers": other(func(t *testing.T, _ *consumer, o *Options) {
			site := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(site.Close)
			o.Jobs = []option.ClientOption{option.WithEndpoint(site.URL + "/bigquery/"), option.WithoutAuthentication()}
		}),
		"BigQuery cannot be reached": other(func(t *testing.T, _ *consumer, o *Options) {
			closed := httptest.NewServer(http.NotFoundHandler())
			closed.Close()
			o.Jobs = []option.ClientOption{option.WithEndpoint(closed.URL + "/bigquery/v2/"), option.WithoutAuthentication()}
		}),
		"The credentials have expired": expire,
		"No job may be made":           always("jobs.insert", bigqueryfake.Refuse(403, "accessDenied", "Access Denied: Project p: User does not have bigquery.jobs.create permission in project p.")),
		"Tables may not be written":    always("AppendRows", bigqueryfake.Refuse(403, "accessDenied", "Permission 'TABLES_UPDATE_DATA' denied on resource 'projects/p/datasets/millrace/tables/t' (or it may not exist).")),
		"The API is off":               always("jobs.insert", bigqueryfake.Refuse(403, "accessNotConfigured", "BigQuery API has not been used in project 1 before or it is disabled.")),
		"There is no billing":          always("statement MERGE", bigqueryfake.Refuse(403, "billingNotEnabled", "Billing has not been enabled for this project. DML queries are not allowed in the free tier.")),
		"BigQuery has trouble":         always("jobs.insert", bigqueryfake.Refuse(503, "backendError", "Error encountered during execution. Retrying may solve the problem.")),
		"A quota is spent":             always("jobs.insert", bigqueryfake.Quota("Quota exceeded: Your project exceeded quota for QueryUsagePerDay.")),
		"Too many partitions":          always("statement MERGE", bigqueryfake.Refuse(400, "invalidQuery", "Too many partitions produced by query, allowed 4000, query produces at least 4001 partitions")),
		"A statement needs too much memory": always("statement MERGE",
			bigqueryfake.Refuse(400, "resourcesExceeded", "Resources exceeded during query execution: The query could not be executed in the allotted memory.")),
		"The cap on bytes":                  always("job", bigqueryfake.FailJob("bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 10485760. 20971520 or higher required.")),
		"The table is gone":                 sql("DROP TABLE core__base.`all`", true),
		"The head is gone":                  sql("DROP TABLE millrace.core__all__head", true),
		"The head has no row":               sql("DELETE FROM millrace.core__all__head WHERE TRUE", false),
		"A column is gone":                  sql("ALTER TABLE core__base.`all` DROP COLUMN note", true),
		"A key column is gone":              sql("ALTER TABLE core__base.`all` DROP COLUMN id", true),
		"A column has another type":         sql("ALTER TABLE core__base.`all` DROP COLUMN note; ALTER TABLE core__base.`all` ADD COLUMN note NUMERIC", true),
		"Another table of Millrace is gone": sql("DROP TABLE millrace.core__all__loads", false),
		"Staged rows are gone": func(t *testing.T, c *consumer) func() {
			core, _ := fixture(schemas.ModeMerge)
			plan := c.p.w.opts.Fault
			c.p.w.opts.Fault = func(ctx context.Context, point string) error {
				if point == PointLoadStaged {
					c.define(t, "DELETE FROM "+c.p.w.dialect.Qualified(sqlgen.Schema, core.Staging())+" WHERE TRUE")
				}
				return nil
			}
			return func() { c.p.w.opts.Fault = plan }
		},
	}
}

func (c *consumer) define(t *testing.T, statements ...string) {
	t.Helper()
	if err := c.p.w.ddl(t.Context(), sqlgen.Name{Dataset: "core", Table: "all"}, statements...); err != nil {
		t.Fatal(err)
	}
}

// keep returns what brings the tables back as they are now.
func (c *consumer) keep(t *testing.T) (back func()) {
	t.Helper()
	core, _ := fixture(schemas.ModeMerge)
	d := c.p.w.dialect
	tables := map[string]string{"core__base.`all`": core.CreateBase(), "millrace.core__all__head": d.CreateHead(core.Name), "millrace.core__all__loads": d.CreateLoads(core.Name)}
	i := 0
	var restore []string
	for name, create := range tables {
		i++
		kept := "core__base.kept" + string(rune('0'+i))
		c.define(t, "CREATE TABLE "+kept+" AS SELECT * FROM "+name)
		restore = append(restore, "DROP TABLE IF EXISTS "+name, create, "INSERT INTO "+name+" SELECT * FROM "+kept)
	}
	return func() { c.define(t, restore...) }
}

// expire makes the credentials give no token any more, until it is cured.
func expire(t *testing.T, c *consumer) (cure func()) {
	tokens := &tokens{}
	right := c.p.w
	var err error
	c.p.w, err = Open(t.Context(), Options{
		Project: c.p.fake.Project(), Location: "US", Writes: c.p.fake.WriteOptions(), RetryWait: time.Millisecond, Patience: 20 * time.Millisecond,
		Jobs: []option.ClientOption{
			option.WithEndpoint(c.p.fake.URL()), option.WithAuthCredentials(auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: tokens})),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := right.Close(); err != nil {
		t.Fatal(err)
	}
	tokens.expire(true)
	return func() { tokens.expire(false) }
}

type tokens struct {
	mu      sync.Mutex
	expired bool
}

func (k *tokens) expire(is bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expired = is
}

// Token implements auth.TokenProvider.
func (k *tokens) Token(context.Context) (*auth.Token, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.expired {
		return nil, &auth.Error{Response: &http.Response{StatusCode: http.StatusBadRequest}, Body: []byte(`{"error":"invalid_grant"}`)}
	}
	return &auth.Token{Value: "t", Type: "Bearer", Expiry: time.Now().Add(time.Minute)}, nil
}
