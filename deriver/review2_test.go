package deriver

import (
	"context"
	"fmt"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// behind commits, and then says what the BigQuery runner says when its job ended
// in an error behind the COMMIT and was tried again.
type behind struct {
	warehouse.Runner
	once bool
}

func (b *behind) Commit(ctx context.Context, s *warehouse.Step) (schemas.LoadComplete, error) {
	e, err := b.Runner.Commit(ctx, s)
	if err == nil && e.Load > 0 && !b.once {
		b.once = true
		return schemas.LoadComplete{}, fmt.Errorf("%w: the head is not this writer's", warehouse.ErrFenced)
	}
	return e, err
}

func TestReviewOwnCommitFencesForGood(t *testing.T) {
	p := shop(t)
	p.derive(revenue)
	d := p.derived["analytics.revenue"]
	d.opts.Runner = &behind{Runner: d.opts.Runner}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := d.Run(ctx)
	t.Logf("Run: %v, ctx: %v", err, ctx.Err())
	if err != nil {
		t.Fatal("nobody derives the table any more, and nobody else has it")
	}
}
