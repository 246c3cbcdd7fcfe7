package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/internal/page"
	"millrace/schemas"
)

// rounds is how often rows are read again that change while they are compared.
const rounds = 3

// Core compares a core table with the table of its source, and leaves the
// source's rows in the replica under the core table's name. It waits until
// the platform has loaded everything that the source's reader saw. A row that
// differs, but may have changed meanwhile, is looked at again, three times in
// all; then it counts.
func Core(ctx context.Context, p Platform, into *Replica, source *Database, table, core string) (Report, error) {
	for round := 1; ; round++ {
		copied, err := source.Copy(ctx, into, table, core)
		if err != nil {
			return Report{}, err
		}
		if err := awaitComplete(ctx, p, core, copied.High); err != nil {
			return Report{}, err
		}
		want, err := into.Query(ctx, "SELECT * FROM "+quoted(core))
		if err != nil {
			return Report{}, err
		}
		got, err := p.Query(ctx, "SELECT * FROM "+quoted(core))
		if err != nil {
			return Report{}, fmt.Errorf("read %s: %w", core, err)
		}
		report := Compare(core, want, got, copied.Key)
		if len(report.Differences) == 0 || round == rounds {
			return report, nil
		}
		moving, err := movedSince(ctx, p, core, copied.Low)
		if err != nil {
			return Report{}, err
		}
		if !moving {
			return report, nil
		}
	}
}

// movedSince says whether any row of the core table changed after the mark.
func movedSince(ctx context.Context, p Platform, core string, low Mark) (bool, error) {
	dataset, name, _ := strings.Cut(core, ".")
	t, err := p.Query(ctx, "SELECT max(_pos) AS pos FROM "+ident(dataset+"__base")+"."+ident(name))
	if err != nil {
		return false, fmt.Errorf("read the last position of %s: %w", core, err)
	}
	if len(t.Rows) != 1 || t.Rows[0][0] == nil {
		return false, nil
	}
	pos, err := schemas.ParsePosition([]byte(*t.Rows[0][0]))
	if err != nil {
		return false, fmt.Errorf("read the last position of %s: %w", core, err)
	}
	return pos.Major > low.Major || pos.Major == low.Major && pos.Minor > low.Minor, nil
}

// reached says whether everything at or below the mark lies at or below pos.
func reached(pos schemas.Position, m Mark) bool {
	return pos.Major > m.Major || pos.Major == m.Major && pos.Minor >= m.Minor
}

// patience is how long a core table may take to load what its source holds.
const patience = 60 * time.Second

// ErrLate is the reason when a table does not get as far as it should.
var ErrLate = errors.New("it does not get as far as its source")

func awaitComplete(ctx context.Context, p Platform, core string, mark Mark) error {
	deadline := time.Now().Add(patience)
	for {
		status, err := p.Status(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(status.Core, func(c page.Core) bool { return c.Table == core })
		if i < 0 {
			return fmt.Errorf("%s is not among the core tables", core)
		}
		state := status.Core[i]
		pos, err := schemas.ParsePosition([]byte(state.Complete.Pos))
		switch {
		case err != nil:
			return fmt.Errorf("read how far %s is: %w", core, err)
		case reached(pos, mark):
			return nil
		case state.Halted != "":
			return fmt.Errorf("%s is halted: %s", core, state.Halted)
		case time.Now().After(deadline):
			return fmt.Errorf("wait for %s: %w: complete through %s after %s, %d dead letters", core, ErrLate, pos, patience, state.Letters)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// quoted is the name of a table, dataset.table.
func quoted(table string) string {
	dataset, name, _ := strings.Cut(table, ".")
	return ident(dataset) + "." + ident(name)
}

// Reached says whether a position, in the text of an event or a status, stands
// at or above the mark.
func (m Mark) Reached(pos string) (bool, error) {
	p, err := schemas.ParsePosition([]byte(pos))
	return reached(p, m), err
}
