package consumers

import (
	"strings"
	"testing"

	"millrace/schemas"
)

// A misspelt event time halts its table, and no other: it would never come right.
func TestEventTimeThatIsNoColumnHalts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad, good := r.table("bad", 1), r.table("good", 1)
	r.tables[0].EventTimes = []string{"created_at"}
	r.produce(r.put(bad, 1, "a"), r.put(good, 1, "a"))
	c, _ := r.start()
	r.await("bad halts", func() bool { return status(c, "core.bad").Halted != "" })
	why := status(c, "core.bad").Halted
	if !strings.Contains(why, `event_time "created_at" is no column of the table`) || !strings.Contains(why, "restart millrace") {
		t.Errorf("halted: %s", why)
	}
	r.awaitEqual(good)
}

func TestEventTimeFault(t *testing.T) {
	columns := []schemas.Column{
		{Name: "id", Type: schemas.Type{Kind: schemas.Int}},
		{Name: "created_at", Type: schemas.Type{Kind: schemas.Timestamp}},
		{Name: "day", Type: schemas.Type{Kind: schemas.Date}},
	}
	for _, c := range []struct {
		name    string
		columns []schemas.Column
		want    []string // none: no fault
	}{
		{"created_at", columns, nil},
		{"day", columns, nil},
		{"create_at", columns, []string{"is no column", "did you mean created_at?"}},
		{"else", columns, []string{"is no column", "created_at, day"}},
		{"id", columns, []string{`"id" has the type`, "created_at, day"}},
		{"id", columns[:1], []string{`"id" has the type`, "leave event_time out"}},
	} {
		problem, cure := EventTimeFault(c.columns, c.name)
		if (problem == "") != (c.want == nil) || (cure == "") != (c.want == nil) {
			t.Errorf("%s of %d columns: %q, %q", c.name, len(c.columns), problem, cure)
		}
		for i, want := range c.want {
			if got := []string{problem, cure}[i]; !strings.Contains(got, want) {
				t.Errorf("%s of %d columns: %q does not say %q", c.name, len(c.columns), got, want)
			}
		}
	}
}
