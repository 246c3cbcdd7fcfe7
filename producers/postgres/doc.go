// Package postgres captures PostgreSQL through logical decoding (pgoutput).
//
// It promises changes in the order of the log at the positions of design: the
// commit's LSN, the LSN of the change, and the ordinal among equals; a replay
// gives the same bytes (G3), and the server is told to forget only what Ack
// has named (G1). Rows are decoded by the relation message that precedes them
// in the log; the catalog, which is always ahead of the log, only says what
// the message does not: the key, nullability, defaults, comments, and whether
// rows were rewritten without an event.
//
// What a column's type cannot hold (infinity in a date, NaN in a
// numeric(p,s), 24:00:00, a year beyond 9999) is neither clamped nor nulled
// (G12): the table halts with the row's key, the column, the value and the
// cure, which is to change the row or to capture the column as text. The other
// tables go on. A table that was cured is snapshotted again at the next Open.
//
// A table may be snapshotted without need, never left out: a rewrite of a leaf
// partition looks like its truncation, which the log does not carry.
//
// It does not follow a failover: another system id or timeline halts.
package postgres
