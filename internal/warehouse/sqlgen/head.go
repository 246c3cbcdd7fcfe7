package sqlgen

import (
	"fmt"

	"millrace/schemas"
)

// ReadHead reads the head's row, or none.
func (d *Dialect) ReadHead(n Name) string {
	return fmt.Sprintf(`SELECT name, mode, %s AS key, epoch, load, topic, topic_id, %s AS offsets, %s AS marks, horizon,
  complete_pos, complete_time, snapshot_pos, snapshot_running, snapshot_done, %s AS unsettable, generation
FROM %s`, d.jsonText("key"), d.jsonText("offsets"), d.jsonText("marks"), d.jsonText("unsettable"), d.Head(n))
}

// params are the parameters from 1 to n, to be put into a statement by their
// numbers.
func (d *Dialect) params(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = d.param(i + 1)
	}
	return out
}

// put writes a statement in which %[1]s and so on are its parameters.
func (d *Dialect) put(params int, format string, more ...any) string {
	return fmt.Sprintf(format, append(d.params(params), more...)...)
}

// TakeOver raises the epoch. It takes the topic and its id as parameters 1 and
// 2, for a head that has none.
func (d *Dialect) TakeOver(n Name) string {
	return d.put(2, `UPDATE %[3]s SET epoch = epoch + 1, fence = fence + 1,
  topic_id = CASE WHEN topic = '' THEN CAST(%[2]s AS %[4]s) ELSE topic_id END,
  topic = CASE WHEN topic = '' THEN CAST(%[1]s AS %[4]s) ELSE topic END
WHERE TRUE`, d.Head(n), d.kind(schemas.String))
}

// Advance moves the head to the load, if the writer still owns it and the load
// is its next (G5). fence makes two writers conflict that change different
// columns: a warehouse may see conflicts per column only. Parameters: offsets,
// marks, horizon, complete_pos, complete_time, snapshot_pos, snapshot_running,
// snapshot_done, load, epoch.
func (d *Dialect) Advance(n Name) string {
	return d.put(10, `UPDATE %[11]s SET load = %[9]s, fence = fence + 1, offsets = %[12]s, marks = %[13]s,
  horizon = %[3]s, complete_pos = %[4]s, complete_time = %[5]s, snapshot_pos = %[6]s, snapshot_running = %[7]s, snapshot_done = %[8]s
WHERE epoch = %[10]s AND load = %[9]s - 1`, d.Head(n), d.toJSON(d.param(1)), d.toJSON(d.param(2)))
}

// Succeed makes the head that of the next generation, as Advance does for a
// load. Parameters: those of Advance, and mode, key, topic, topic_id,
// unsettable, generation.
func (d *Dialect) Succeed(n Name) string {
	return d.put(16, `UPDATE %[17]s SET load = %[9]s, fence = fence + 1, offsets = %[18]s, marks = %[19]s,
  horizon = %[3]s, complete_pos = %[4]s, complete_time = %[5]s, snapshot_pos = %[6]s, snapshot_running = %[7]s, snapshot_done = %[8]s,
  mode = %[11]s, key = %[20]s, topic = %[13]s, topic_id = %[14]s, unsettable = %[21]s, generation = %[16]s
WHERE epoch = %[10]s AND load = %[9]s - 1`, d.Head(n), d.toJSON(d.param(1)), d.toJSON(d.param(2)), d.toJSON(d.param(12)), d.toJSON(d.param(15)))
}

// MoveOffsets sets the offsets under the epoch. Parameters: offsets, epoch.
func (d *Dialect) MoveOffsets(n Name) string {
	return fmt.Sprintf("UPDATE %s SET offsets = %s, fence = fence + 1 WHERE epoch = %s", d.Head(n), d.toJSON(d.param(1)), d.param(2))
}

// SetRunning says that a snapshot runs.
func (d *Dialect) SetRunning(n Name) string {
	return fmt.Sprintf("UPDATE %s SET snapshot_running = TRUE WHERE TRUE", d.Head(n))
}

// SetUnsettable remembers which columns rows may lack. Parameter: the names.
func (d *Dialect) SetUnsettable(n Name) string {
	return fmt.Sprintf("UPDATE %s SET unsettable = %s WHERE TRUE", d.Head(n), d.toJSON(d.param(1)))
}

// LogLoad writes the event into the log of loads. Parameters: load,
// committed_at, event.
func (d *Dialect) LogLoad(n Name) string {
	return fmt.Sprintf("INSERT INTO %s (load, committed_at, event) VALUES (%s, %s, %s)", d.Loads(n), d.param(1), d.param(2), d.toJSON(d.param(3)))
}

// ReadLoads reads the events above a load. Parameters: load, at most.
func (d *Dialect) ReadLoads(n Name) string {
	return fmt.Sprintf("SELECT %s FROM %s WHERE load > %s ORDER BY load LIMIT %s", d.jsonText("event"), d.Loads(n), d.param(1), d.param(2))
}
