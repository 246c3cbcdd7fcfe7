package consumers

import (
	"strings"
	"testing"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// A misspelt event time halts its table, and no other: it would never come right.
func TestEventTimeThatIsNoColumnHalts(t *testing.T) {
	r := newRig(t)
	bad, good := r.table("bad", 1), r.table("good", 1)
	r.tables[0].EventTimes = []string{"created_at"}
	r.produce(r.put(bad, 1, "a"), r.put(good, 1, "a"))
	c, _ := r.start()
	r.await("bad halts", func() bool { return status(c, "core.bad").Halted != "" })
	why := status(c, "core.bad").Halted
	if !strings.Contains(why, `event_time "created_at" is no column of core.bad`) || !strings.Contains(why, "restart millrace") {
		t.Errorf("halted: %s", why)
	}
	r.awaitEqual(good)
}

func TestEventTimeCure(t *testing.T) {
	columns := []schemas.Column{
		{Name: "id", Type: schemas.Type{Kind: schemas.Int}},
		{Name: "created_at", Type: schemas.Type{Kind: schemas.Timestamp}},
		{Name: "day", Type: schemas.Type{Kind: schemas.Date}},
	}
	for _, c := range []struct {
		name    string
		columns []schemas.Column
		want    string // empty: no fault
	}{
		{"created_at", columns, ""},
		{"day", columns, ""},
		{"create_at", columns, "did you mean created_at?"},
		{"else", columns, "there are created_at, day"},
		{"id", columns, `event_time "id" of core.t has the type INT`},
		{"id", columns[:1], "leave event_time out"},
	} {
		err := checkEventTimes(&warehouse.CoreTable{Name: "core.t", Columns: c.columns, EventTimes: []string{c.name}})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(strings.ToUpper(err.Error()), strings.ToUpper(c.want)) {
			t.Errorf("%s of %d columns: %v, want %q", c.name, len(c.columns), err, c.want)
		}
	}
}
