package postgres

import (
	"maps"
	"testing"

	"millrace/schemas"
)

// A row that was cured is met again in the log when the process starts again:
// one start is enough, and it is the snapshot that finds what is left to cure.
func TestLogHoldsTheCuredRow(t *testing.T) {
	for _, c := range []struct {
		name   string
		before bool // the halt itself is not known any more: its checkpoint was torn
		cure   string
		rows   string
	}{
		{"known, cured", false, "UPDATE t SET at = '2026-01-02' WHERE id = 2", "r 1|20454, r 2|20455, r 3|20456, r 4|20457"},
		{"known, deleted", false, "DELETE FROM t WHERE id = 2", "r 1|20454, r 3|20456, r 4|20457"},
		{"torn, cured", true, "UPDATE t SET at = '2026-01-02' WHERE id = 2", "r 1|20454, r 2|20455, r 3|20456, r 4|20457"},
		{"torn, not cured", true, "SELECT 1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			capt := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, at date)").open()
			capt.sync()
			capt.resumeAt()
			token, tables := capt.start.Token, maps.Clone(capt.start.Tables)
			capt.exec("INSERT INTO t VALUES (1, '2026-01-01'), (2, 'infinity'), (3, '2026-01-03')")
			capt.sync()
			if len(capt.halts) != 1 {
				t.Fatalf("%d halts", len(capt.halts))
			}
			capt.halts = nil
			capt.exec("UPDATE t SET at = '-infinity' WHERE id = 2", c.cure)
			capt.close()
			capt.resumeAt()
			capt.start.Token, capt.start.Last = token, schemas.Position{}
			if c.before {
				capt.start.Tables = tables
			}
			capt.open()
			capt.exec("INSERT INTO t VALUES (4, '2026-01-04')")
			capt.sync()
			if len(capt.halts) > 0 {
				t.Fatalf("the log halts it again: %v", capt.halts[0])
			}
			since := capt.raised("t")
			got := capt.of("t")
			if len(got) < 3 || got[0].After[0].Int != 1 || got[1].After[0].Int != 3 || got[1].TxOrder != 3 || !got[1].Position.Less(since) {
				t.Fatalf("the stream says %s, since %s", lines(got), since)
			}
			if last := got[len(got)-1]; last.After[0].Int != 4 || !since.Less(last.Position) {
				t.Fatalf("the last change is at %s, since %s", last.Position, since)
			}
			rows, chunk, err := capt.chunk("t")
			if c.rows == "" {
				halted(t, err, "public.t", "id=2", "column at", `"-infinity"`, "text: [at]")
				return
			}
			if err != nil || lines(rows) != c.rows || !since.Less(chunk.ReadPoint) {
				t.Fatalf("%s at %s, %v", lines(rows), chunk.ReadPoint, err)
			}
			// What comes after the start halts as ever.
			capt.exec("INSERT INTO t VALUES (5, 'infinity')")
			capt.sync()
			if len(capt.halts) != 1 {
				t.Fatalf("%d halts", len(capt.halts))
			}
		})
	}
}
