// Package mongofake is a MongoDB that tests and the demonstration run: a server
// over the real wire protocol, which go.mongodb.org/mongo-driver takes for a
// replica set of one member. A folder holds its data: what it acknowledged is
// there again after a kill, and it can be started again at the same port; no second
// fake takes the folder meanwhile.
//
// It is there to show what a reader of change streams must bear. Its tokens are
// opaque, its oplog can be forgotten, its cursors lost, its connections cut before
// or after a command took effect, its replies lost. Faults are scripted with On,
// or from another process with the command mongofake; each is keyed to a command
// and to how often it was reached.
//
// # What it proves
//
// It is our reading of MongoDB's documentation and of its drivers' specification,
// not mongod: what holds against it holds against the driver and that reading.
// The same suites are meant to be run against a real deployment.
//
// As far as we know it does as mongod does in these: the order of values of
// different types, and numbers that compare across their types; one cluster time
// for the events of a transaction, and a time of its own for every other write;
// retryable writes that are answered once; snapshot reads at a cluster time;
// change streams of a collection, a database and the deployment with their
// options, post- and pre-images of the time of the change, invalidation, split
// events, tokens on idle streams, and the errors 47, 136, 260, 280 and 286.
//
// # Limits
//
//   - The log reaches the operating system before a write is acknowledged, not the
//     disk: it survives the process, not the machine. A command's writes
//     are one record, so a kill keeps all of them or none. The log is never
//     compacted, and all data is held in memory.
//   - A find without a sort answers in the order of _id.
//   - Filters: comparisons, $in, $nin, $exists, $regex (Go's), $not, $and, $or, $nor,
//     dotted paths, arrays. Updates: $set, $unset, $inc, $push (with $each),
//     $setOnInsert, replacements; pipelines of $set and $unset with constants.
//     Pipelines: $match, $project, $sort, $skip, $limit, $count, $group with $sum,
//     $min and $max. Projections are of whole fields. What it does not know it
//     refuses.
//   - Indexes are listed and used by nothing; unique ones are refused. No views, no
//     capped or time series collections, no shards, no collation, no roles.
//   - A transaction that makes a collection makes it at once, and for all. Writes
//     outside of it wait for the rows that it holds; there is no time limit on it.
//   - A retryable write is recognized by its number, not statement by statement.
//   - The cluster time goes on without writes only while a stream is waited on.
//   - updateDescription: of operators, the paths that they wrote; of pipelines, the
//     difference. disambiguatedPaths holds paths with a name that is a number or
//     has a dot.
//   - A token of an event that the stream's $match would refuse is taken. Whole
//     events are matched, before they are split.
//   - No exhaust, no compression, no TLS.
package mongofake
