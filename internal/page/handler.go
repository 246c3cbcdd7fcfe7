package page

import (
	"context"
	_ "embed" // the page
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed page.html
var html []byte

// maxQuery bounds the text of a query.
const maxQuery = 1 << 20

// Table is the answer to a query. Every value is the warehouse's own text, or
// null.
type Table struct {
	Columns []string    `json:"columns"`
	Types   []string    `json:"types"`
	Rows    [][]*string `json:"rows"`
}

// Shown is what a run of a derived table would compute.
type Shown struct {
	SQL    string `json:"sql"`
	Result *Table `json:"result"`
}

// Process is what the handler asks.
type Process struct {
	Status func(context.Context) Status
	Query  func(ctx context.Context, sql string) (*Table, error)
	// Show computes a window, or a key, of a derived table, and publishes nothing.
	Show func(ctx context.Context, table, window string, key []string) (*Shown, error)
}

// Handler serves the page at /, the status as JSON at /api/status, the answer
// to the SELECT in the body of a POST to /api/sql, and at /api/show, with the
// parameters table, window and key, what a run would compute.
func Handler(p Process) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(html)
	})
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, r *http.Request) { answer(w, p.Status(r.Context())) })
	mux.HandleFunc("POST /api/sql", func(w http.ResponseWriter, r *http.Request) {
		// A page of another site can make a browser post text, but not say that it
		// is this.
		if r.Header.Get("Content-Type") != "application/sql" {
			http.Error(w, "send the query as application/sql", http.StatusUnsupportedMediaType)
			return
		}
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuery))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		table, err := p.Query(r.Context(), string(text))
		reply(w, table, err)
	})
	mux.HandleFunc("GET /api/show", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		shown, err := p.Show(r.Context(), q.Get("table"), q.Get("window"), q["key"])
		reply(w, shown, err)
	})
	return mux
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	answer(w, v)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

// Client asks a running process.
type Client struct {
	Addr string // host:port
	HTTP http.Client
}

// Status asks for the status.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addr+"/api/status", nil)
	if err != nil {
		return nil, fmt.Errorf("ask for the status: %w", err)
	}
	var s Status
	if err := c.do(req, &s); err != nil {
		return nil, fmt.Errorf("ask for the status: %w", err)
	}
	return &s, nil
}

// Query asks for the result of a SELECT.
func (c *Client) Query(ctx context.Context, sql string) (*Table, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.Addr+"/api/sql", newBody(sql))
	if err != nil {
		return nil, fmt.Errorf("send query: %w", err)
	}
	req.Header.Set("Content-Type", "application/sql")
	var t Table
	if err := c.do(req, &t); err != nil {
		return nil, fmt.Errorf("run query: %w", err)
	}
	return &t, nil
}

// Show asks for what a run of a derived table would compute.
func (c *Client) Show(ctx context.Context, table, window string, key []string) (*Shown, error) {
	q := url.Values{"table": {table}, "window": {window}, "key": key}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addr+"/api/show?"+q.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("show %s: %w", table, err)
	}
	var s Shown
	if err := c.do(req, &s); err != nil {
		return nil, fmt.Errorf("show %s: %w", table, err)
	}
	return &s, nil
}

func (c *Client) do(req *http.Request, into any) error {
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusNotFound {
		return fmt.Errorf("what answers at %s has no tables to tell of: ask the address of millrace up, produce, consume or derive; one that has just started tells in a moment", c.Addr)
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return &AnswerError{Code: resp.StatusCode, Text: string(text)}
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// AnswerError is an answer that refuses.
type AnswerError struct {
	Code int
	Text string
}

func (e *AnswerError) Error() string { return strings.TrimSpace(e.Text) }

// since is how long ago t was, for people.
func since(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	}
	return t.UTC().Format("2006-01-02 15:04 MST")
}
