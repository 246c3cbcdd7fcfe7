package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"millrace/schemas"
)

// Platform is a running process, asked over HTTP.
type Platform struct {
	url    string
	client *http.Client
}

// NewPlatform asks the process that listens on host:port.
func NewPlatform(addr string) *Platform {
	return &Platform{url: "http://" + addr, client: &http.Client{Timeout: time.Minute}}
}

// Status is what the process says of its tables, as far as it counts here.
type Status struct {
	Core    []CoreStatus    `json:"core"`
	Derived []DerivedStatus `json:"derived"`
}

// CoreStatus says how far a core table is.
type CoreStatus struct {
	Table    string                `json:"table"`
	Halted   string                `json:"halted"`
	Load     int64                 `json:"load"`
	Complete schemas.Progress      `json:"complete"`
	Snapshot schemas.SnapshotState `json:"snapshot"`
	Letters  int                   `json:"letters"`
}

// DerivedStatus says what a derived table has still to do.
type DerivedStatus struct {
	Table string `json:"table"`
	Load  int64  `json:"load"`
	Waits string `json:"waits"`
	Dirty int    `json:"dirty"`
	Held  int    `json:"held"`
}

// Status asks for the state of all tables.
func (p *Platform) Status(ctx context.Context) (*Status, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/status", nil)
	if err != nil {
		return nil, fmt.Errorf("ask for the status: %w", err)
	}
	var s Status
	if err := p.answer(req, &s); err != nil {
		return nil, fmt.Errorf("ask for the status: %w", err)
	}
	return &s, nil
}

// Query has the process answer one SELECT.
func (p *Platform) Query(ctx context.Context, query string) (*Rows, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/api/sql", strings.NewReader(query))
	if err != nil {
		return nil, fmt.Errorf("ask the warehouse: %w", err)
	}
	var r Rows
	if err := p.answer(req, &r); err != nil {
		return nil, fmt.Errorf("ask the warehouse: %w\n%s", err, query)
	}
	return &r, nil
}

// Complete is the place up to which a core table holds every change.
func (p *Platform) Complete(ctx context.Context, table string) (schemas.Progress, error) {
	s, err := p.Status(ctx)
	if err != nil {
		return schemas.Progress{}, err
	}
	for _, c := range s.Core {
		if c.Table == table {
			return c.Complete, nil
		}
	}
	return schemas.Progress{}, fmt.Errorf("%s is not among the core tables", table)
}

func (p *Platform) answer(req *http.Request, into any) error {
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return json.Unmarshal(body, into)
}
