package producers

import (
	"context"
	"fmt"
	"sync"

	"millrace/schemas"
)

// reader calls Next and Ack from one goroutine. A batch is borrowed: the next
// one is read when it has been given back.
type reader struct {
	src     Source
	batches chan *Batch
	release chan struct{}

	mu  sync.Mutex
	ack schemas.Token
}

func (r *reader) run(ctx context.Context) error {
	for {
		if token := r.takeAck(); token != "" {
			if err := r.src.Ack(ctx, token); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
		}
		b, err := r.src.Next(ctx)
		if err != nil {
			return fmt.Errorf("read source: %w", err)
		}
		select {
		case r.batches <- &b:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-r.release:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// acknowledge has the source told before it is read again.
func (r *reader) acknowledge(token schemas.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ack = token
}

func (r *reader) takeAck() schemas.Token {
	r.mu.Lock()
	defer r.mu.Unlock()
	token := r.ack
	r.ack = ""
	return token
}
