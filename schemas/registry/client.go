package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"millrace/schemas/avro"
)

// ErrUnknown is the reason when the registry has no schema of that id.
var ErrUnknown = errors.New("registry has no such schema")

// IncompatibleError says that the registry refuses a schema because older
// readers or older data would not get along with it.
type IncompatibleError struct {
	Subject string
	Reason  string
}

func (e *IncompatibleError) Error() string {
	return fmt.Sprintf("schema of %s is incompatible with an earlier version: %s: undo the change of the table, "+
		"or, if all readers can take it, set the subject's compatibility to NONE (PUT /config/%s) and start again", e.Subject, e.Reason, e.Subject)
}

// Client is a client of a schema registry. It may be used by many goroutines.
type Client struct {
	sr     *sr.Client
	tries  int
	pause  time.Duration // after the first failure; doubles
	mu     sync.Mutex
	byID   map[uint32]string
	byText map[subjectText]uint32
}

type subjectText struct{ subject, schema string }

// New makes a client of the registry at url, which may be several, separated by
// commas. The options are for credentials, TLS and the like.
func New(url string, opts ...Option) (*Client, error) {
	urls := strings.Split(url, ",")
	for i := range urls {
		urls[i] = strings.TrimSpace(urls[i])
	}
	cl, err := sr.NewClient(append([]Option{sr.URLs(urls...), sr.UserAgent("millrace")}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("make registry client for %s: %w", url, err)
	}
	return &Client{
		sr: cl, tries: 6, pause: 200 * time.Millisecond,
		byID: make(map[uint32]string), byText: make(map[subjectText]uint32),
	}, nil
}

// Register makes the schema the newest version of the subject, unless it is one
// of its versions already, and returns its id. A schema that avro.Check refuses
// never reaches the registry; one that the registry refuses as incompatible is
// an *IncompatibleError. If the registry cannot be reached it tries again for
// some seconds; as registering is idempotent, so may the caller.
func (c *Client) Register(ctx context.Context, subject, schema string) (uint32, error) {
	c.mu.Lock()
	id, ok := c.byText[subjectText{subject, schema}]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	if err := avro.Check(schema); err != nil {
		return 0, fmt.Errorf("register schema of %s: %w", subject, err)
	}
	err := c.retry(ctx, func() error {
		n, err := c.sr.RegisterSchema(ctx, subject, sr.Schema{Schema: schema}, -1, -1)
		if err != nil {
			return err
		}
		id, err = schemaID(n)
		return err
	})
	if err != nil {
		if status(err) == http.StatusConflict {
			return 0, &IncompatibleError{Subject: subject, Reason: c.reason(ctx, subject, schema, err)}
		}
		return 0, fmt.Errorf("register schema of %s: %w", subject, err)
	}
	c.mu.Lock()
	c.byText[subjectText{subject, schema}] = id
	c.mu.Unlock()
	return id, nil
}

// reason asks what is incompatible; some registries do not say it at once.
func (c *Client) reason(ctx context.Context, subject, schema string, refused error) string {
	res, err := c.sr.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), subject, -1, sr.Schema{Schema: schema})
	if err != nil || len(res.Messages) == 0 {
		return refused.Error()
	}
	return strings.Join(res.Messages, "; ")
}

// Schema returns the schema with the id. An id means one schema for ever, so
// each is asked for once. If the registry does not know it, the error is
// ErrUnknown.
func (c *Client) Schema(ctx context.Context, id uint32) (string, error) {
	c.mu.Lock()
	text, ok := c.byID[id]
	c.mu.Unlock()
	if ok {
		return text, nil
	}
	err := c.retry(ctx, func() error {
		s, err := c.sr.SchemaByID(ctx, int(id))
		if err != nil {
			return err
		}
		if s.Type != sr.TypeAvro {
			return fmt.Errorf("schema is of type %s, want AVRO", s.Type)
		}
		text = s.Schema
		return nil
	})
	if err != nil {
		if status(err) == http.StatusNotFound {
			err = ErrUnknown
		}
		return "", fmt.Errorf("get schema %d: %w", id, err)
	}
	c.mu.Lock()
	c.byID[id] = text
	c.mu.Unlock()
	return text, nil
}

// Latest returns the newest schema of the subject. If there is none, the error
// is ErrUnknown.
func (c *Client) Latest(ctx context.Context, subject string) (text string, err error) {
	err = c.retry(ctx, func() error {
		s, err := c.sr.SchemaByVersion(ctx, subject, -1)
		text = s.Schema.Schema
		return err
	})
	if status(err) == http.StatusNotFound {
		err = ErrUnknown
	}
	if err != nil {
		return "", fmt.Errorf("look up the newest schema of %s: %w", subject, err)
	}
	return text, nil
}

// retry repeats what failed because the registry could not be reached or is in
// trouble itself. What it refuses is final.
func (c *Client) retry(ctx context.Context, do func() error) error {
	pause := c.pause
	for try := 1; ; try++ {
		err := do()
		code := status(err)
		final := err == nil || ctx.Err() != nil || code != 0 && code < 500 && code != http.StatusTooManyRequests
		if final || try == c.tries {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// status is the HTTP status of an answer that is an error, or 0 if there was no
// answer.
func status(err error) int {
	var answer *sr.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

func schemaID(n int) (uint32, error) {
	if n < 0 || int64(n) > 1<<32-1 {
		return 0, fmt.Errorf("registry answers with schema id %d, which the wire header cannot hold", n)
	}
	return uint32(n), nil
}
