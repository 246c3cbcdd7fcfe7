// Package mongodb captures a MongoDB replica set: its change stream as changes,
// its collections as snapshots.
//
// A change stands at (cluster time, 0, ordinal among the changes of that time);
// a chunk of a snapshot is read at a cluster time, (time, 0, FFFFFFFF). The
// stream resumes with the server's own token, which stays opaque, and the cluster
// time and ordinal that belong to it.
//
// A document becomes a row of its _id as text, of the whole document as JSON,
// and of columns that were declared or promoted. What an update did not carry is
// unset, and its row is read again; nothing is looked up, because a lookup
// returns a later document at an earlier position (G2). A value that does not fit
// its column is null there and stands in _conflicts; the document has it in any
// case (G12).
//
// The package refuses, with what to do, what has no change stream or no snapshot
// at a cluster time: a standalone server, MongoDB before 5.0, views and time
// series. It refuses a sharded cluster too: an empty answer of its router does not
// prove that the log of every shard was read.
package mongodb
