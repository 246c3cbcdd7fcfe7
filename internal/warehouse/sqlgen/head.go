package sqlgen

import "fmt"

// ReadHead reads the head's row, or none.
func (d *Dialect) ReadHead(n Name) string {
	return fmt.Sprintf(`SELECT name, mode, CAST(key AS VARCHAR), epoch, load, topic, topic_id, CAST(offsets AS VARCHAR), CAST(marks AS VARCHAR), horizon,
  complete_pos, complete_time, snapshot_pos, snapshot_running, snapshot_done, CAST(unsettable AS VARCHAR), generation
FROM %s`, d.Head(n))
}

// TakeOver raises the epoch. It takes the topic and its id as parameters 1 and
// 2, for a head that has none.
func (d *Dialect) TakeOver(n Name) string {
	return fmt.Sprintf(`UPDATE %s SET epoch = epoch + 1, fence = fence + 1,
  topic_id = CASE WHEN topic = '' THEN CAST($2 AS VARCHAR) ELSE topic_id END,
  topic = CASE WHEN topic = '' THEN CAST($1 AS VARCHAR) ELSE topic END`, d.Head(n))
}

// Advance moves the head to the load, if the writer still owns it and the load
// is its next (G5). fence makes two writers conflict that change different
// columns: a warehouse may see conflicts per column only. Parameters: offsets,
// marks, horizon, complete_pos, complete_time, snapshot_pos, snapshot_running,
// snapshot_done, load, epoch.
func (d *Dialect) Advance(n Name) string {
	return fmt.Sprintf(`UPDATE %s SET load = $9, fence = fence + 1, offsets = CAST($1 AS VARCHAR), marks = CAST($2 AS VARCHAR),
  horizon = $3, complete_pos = $4, complete_time = $5, snapshot_pos = $6, snapshot_running = $7, snapshot_done = $8
WHERE epoch = $10 AND load = $9 - 1`, d.Head(n))
}

// Succeed makes the head that of the next generation, as Advance does for a
// load. Parameters: those of Advance, and mode, key, topic, topic_id,
// unsettable, generation.
func (d *Dialect) Succeed(n Name) string {
	return fmt.Sprintf(`UPDATE %s SET load = $9, fence = fence + 1, offsets = CAST($1 AS VARCHAR), marks = CAST($2 AS VARCHAR),
  horizon = $3, complete_pos = $4, complete_time = $5, snapshot_pos = $6, snapshot_running = $7, snapshot_done = $8,
  mode = $11, key = CAST($12 AS VARCHAR), topic = $13, topic_id = $14, unsettable = CAST($15 AS VARCHAR), generation = $16
WHERE epoch = $10 AND load = $9 - 1`, d.Head(n))
}

// MoveOffsets sets the offsets under the epoch. Parameters: offsets, epoch.
func (d *Dialect) MoveOffsets(n Name) string {
	return fmt.Sprintf("UPDATE %s SET offsets = CAST($1 AS VARCHAR), fence = fence + 1 WHERE epoch = $2", d.Head(n))
}

// SetRunning says that a snapshot runs.
func (d *Dialect) SetRunning(n Name) string {
	return fmt.Sprintf("UPDATE %s SET snapshot_running = TRUE", d.Head(n))
}

// SetUnsettable remembers which columns rows may lack. Parameter: the names.
func (d *Dialect) SetUnsettable(n Name) string {
	return fmt.Sprintf("UPDATE %s SET unsettable = CAST($1 AS VARCHAR)", d.Head(n))
}

// LogLoad writes the event into the log of loads. Parameters: load,
// committed_at, event.
func (d *Dialect) LogLoad(n Name) string {
	return fmt.Sprintf("INSERT INTO %s VALUES ($1, $2, CAST($3 AS VARCHAR))", d.Loads(n))
}

// ReadLoads reads the events above a load. Parameters: load, at most.
func (d *Dialect) ReadLoads(n Name) string {
	return fmt.Sprintf("SELECT CAST(event AS VARCHAR) FROM %s WHERE load > $1 ORDER BY load LIMIT $2", d.Loads(n))
}
