package up

import (
	"context"
	"errors"
	"time"

	"millrace/internal/warehouse"
)

// The pauses between questions to a warehouse that does not answer. It has itself
// asked for a while by then.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = 30 * time.Second
)

// errAskedToEnd ends a start that waited when the process was asked to end.
var errAskedToEnd = errors.New("asked to end while it waited for the warehouse")

// outlast asks the warehouse until it answers: a process that starts during an outage
// begins its work after it, as one that runs goes on. What a person must cure is
// returned at once.
func (p *process) outlast(ctx context.Context, what string, ask func() error) error {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		err := ask()
		switch {
		case ctx.Err() != nil && err != nil:
			return errAskedToEnd
		case !errors.Is(err, warehouse.ErrUnavailable):
			p.ops.SetProbes(starting, alive)
			return err
		}
		p.Log.Warn("start waits for the warehouse", "for", what, "asked_again_in", pause, "err", err)
		p.ops.SetProbes(func() string { return "waits for the warehouse: " + oneLine(err) }, alive)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errAskedToEnd
		case <-timer.C:
		}
	}
}

// The probes of a process that starts.
func starting() string { return "starting" }
func alive() string    { return "" }
