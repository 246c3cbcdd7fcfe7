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
// differs is looked at again, and once more if it has just changed; if it still
// differs, it counts. What it waits for is told to tell.
func Core(ctx context.Context, p Platform, into *Replica, source *Database, table Table, core string, tell Tell) (Report, error) {
	result := Report{Table: core}
	var doubted map[string]bool // keys that differed in the round before
	for round := 1; ; round++ {
		report, moved, err := compareOnce(ctx, p, into, source, table, core, tell)
		if err != nil {
			return Report{}, err
		}
		result.Rows = report.Rows
		still := make(map[string]bool)
		for _, d := range report.Differences {
			// One look is not enough: a commit is in the log before it can be seen.
			if doubted[d.key] && (!moved[d.key] || round == rounds) {
				result.Differences = append(result.Differences, d)
			}
			still[d.key] = true
		}
		if len(still) == 0 || len(result.Differences) > 0 || round == rounds {
			return result, nil
		}
		doubted = still
	}
}

// compareOnce compares, and returns the keys of the rows that changed since
// the source's rows were read: what is said about them may be out of date.
func compareOnce(ctx context.Context, p Platform, into *Replica, source *Database, table Table, core string, tell Tell) (Report, map[string]bool, error) {
	if source.documents != nil {
		var err error
		if table, err = withPromoted(ctx, of(p), table, core); err != nil {
			return Report{}, nil, err
		}
	}
	copied, err := source.Copy(ctx, into, table, core)
	if err != nil {
		return Report{}, nil, err
	}
	if err := awaitComplete(ctx, of(p), core, copied.High, tell); err != nil {
		return Report{}, nil, err
	}
	want, err := into.Query(ctx, "SELECT * FROM "+quoted(core))
	if err != nil {
		return Report{}, nil, err
	}
	on := of(p)
	got, err := on.rows(ctx, core)
	if err != nil {
		return Report{}, nil, fmt.Errorf("read %s: %w", core, err)
	}
	if len(copied.Key) == 0 {
		got = without(got, "_op", "_pos", "_ts", "_load", "_unset") // of a table that only grows
	}
	got = without(got, gone(want, got)...)
	if source.documents != nil {
		want, got = spelledAlike(want), spelledAlike(got)
	}
	report := on.compare(core, want, got, copied.Key)
	if len(report.Differences) == 0 {
		return report, nil, nil
	}
	moved, err := movedSince(ctx, on, core, copied)
	return report, moved, err
}

// gone are the columns that the source has no more: they stay in the warehouse,
// and every row was read without them.
func gone(want, got *page.Table) (names []string) {
	for i, name := range got.Columns {
		if !slices.Contains(want.Columns, name) && !slices.ContainsFunc(got.Rows, func(r []*string) bool { return r[i] != nil }) {
			names = append(names, name)
		}
	}
	return names
}

// movedSince returns the keys of the rows that lie above what was copied for
// certain, deleted ones too. Positions are compared as text, without their
// epoch, which the source does not know.
func movedSince(ctx context.Context, p On, core string, c Copied) (map[string]bool, error) {
	base, err := baseOf(ctx, p, core)
	if err != nil {
		return nil, err
	}
	keys := []string{"_pos"}
	for _, k := range c.Key {
		keys = append(keys, p.ident(k))
	}
	t, err := p.Query(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE substr(_pos, 10) > '%016X/%016X/FFFFFFFF'",
		strings.Join(keys, ", "), base, c.Low.Major, c.Low.Minor))
	if err != nil {
		return nil, fmt.Errorf("read which rows of %s have just changed: %w", core, err)
	}
	if p.BigQuery {
		_, t = inBigQuery(&page.Table{}, t)
	}
	moved := make(map[string]bool)
	for _, row := range t.Rows {
		moved[identity(row[1:])] = true
	}
	return moved, nil
}

// baseOf is the table that holds the rows of a core table's generation.
func baseOf(ctx context.Context, p On, core string) (string, error) {
	dataset, name := cutName(core)
	t, err := p.Query(ctx, "SELECT generation FROM "+p.dotted("millrace", dataset+"__"+name+"__head"))
	if err != nil {
		return "", fmt.Errorf("read the generation of %s: %w", core, err)
	}
	if len(t.Rows) == 1 && t.Rows[0][0] != nil && *t.Rows[0][0] != "1" {
		name += "__g" + *t.Rows[0][0]
	}
	return p.dotted(dataset+"__base", name), nil
}

// reached says whether everything at or below the mark lies at or below pos.
func reached(pos schemas.Position, m Mark) bool {
	return pos.Major > m.Major || pos.Major == m.Major && pos.Minor >= m.Minor
}

// patience is how long a table may take to hold what its source or its inputs
// hold, if nothing is said.
const patience = 60 * time.Second

// ErrLate is the reason when a table does not get as far as it should.
var ErrLate = errors.New("it does not get as far as its source")

func awaitComplete(ctx context.Context, p On, core string, mark Mark, tell Tell) error {
	waits := newWaits(tell)
	deadline := time.Now().Add(p.Patience)
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
			return fmt.Errorf("wait for %s: %w: complete through %s after %s, %d dead letters", core, ErrLate, pos, p.Patience, state.Letters)
		}
		waits.say("%s waits until the table holds what its source held when it was read: %s", core, behind(state))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func cutName(table string) (dataset, name string) {
	dataset, name, _ = strings.Cut(table, ".")
	return dataset, name
}

// quoted is the name of a table, dataset.table, in the replica.
func quoted(table string) string { return On{}.quoted(table) }

// Reached says whether a position, in the text of an event or a status, stands
// at or above the mark.
func (m Mark) Reached(pos string) (bool, error) {
	p, err := schemas.ParsePosition([]byte(pos))
	return reached(p, m), err
}

// behind is what a core table still lacks, for people.
func behind(c page.Core) string {
	switch {
	case c.Trouble != "":
		return c.Trouble
	case c.Letters > 0:
		return fmt.Sprintf("%d dead letters keep it incomplete", c.Letters)
	case c.Snapshot.Running:
		return fmt.Sprintf("its snapshot runs, %d rows so far", max(c.Rows, 0))
	case c.Lag > 0:
		return fmt.Sprintf("%d records are not loaded yet", c.Lag)
	case c.Complete.Time.IsZero():
		return "it is not complete through any time yet"
	}
	return "complete through " + c.Complete.Time.UTC().Format("2006-01-02 15:04:05 MST")
}
