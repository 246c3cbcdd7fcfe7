// Package bigqueryfake is a BigQuery inside the test's process: the REST API of
// datasets, tables and jobs and the gRPC API of Storage Write, as far as
// cloud.google.com/go/bigquery and its managedwriter use them. The clients
// connect unchanged, by ClientOptions and WriteOptions.
//
// It is there to misbehave as the service does. It refuses what the service
// refuses: a job's id that was used, offsets that were written or lie ahead, a
// stream that is finalized or committed already, fields that the table has not
// or not yet, values that do not fit, requests and queries over the limit, a
// MERGE whose source has two rows for one of the target, an UPDATE or DELETE
// without WHERE, permanent DDL inside a transaction, two transactions that
// change one table. Faults are scripted with On: each is keyed to a method, or a
// kind of statement, and to how often it was reached.
//
// Statements run on DuckDB underneath. A translator writes them in DuckDB's
// words, token by token; it knows a closed set (what package sqlgen makes, and
// the portable part of the query language) and refuses everything else with
// the reason notImplemented, rather than guess.
//
// # Limits
//
//   - It does not analyze: a comparison of a DATE with a TIMESTAMP, which
//     BigQuery refuses, is coerced by DuckDB. The GoogleSQL analyzer proves texts.
//   - Types: the scalar ones, without GEOGRAPHY, INTERVAL and RANGE, and STRUCT and
//     ARRAY of them, which the write path and load jobs do not take. That they cannot
//     be compared or grouped, the analyzer knows. Of arrays inside of others a null
//     stays one. A BIGNUMERIC of more than 38 digits is held as text: it
//     is stored and read back exactly under its own name, compared for equality
//     in its shortest spelling, and not computed with.
//   - JSON keeps the spelling of numbers (2.50, where BigQuery has 2.5).
//   - FLOAT64 as a STRING is spelled as DuckDB does (1.0, where BigQuery says 1).
//   - No authentication, no roles, no reservations, no routines, no row policies,
//     no time travel, no legacy SQL, no wildcard tables, no sessions. What a
//     missing role or a spent quota looks like is a scripted fault.
//   - The Storage Read API and Arrow rows in the Storage Write API are refused.
//   - Sizes and prices are estimates of the right kind (10 MB for each table at
//     least), not BigQuery's.
//   - Of rates, that of a table's definitions is limited, if Options say so.
//     Limits that depend on nothing but the requests are kept: the size of a
//     request and of a query, 20 statements that wait for a table.
//   - A query with a destination writes it at once and beside all transactions, as
//     the service does. So does a load job, whose Avro file comes with the request,
//     or in parts behind it; Cloud Storage, other formats, copies and extracts are refused.
//   - A variable of a script whose name a column of the statement's tables has is
//     refused: the service would take the column.
//   - Changes by key (_CHANGE_TYPE) are joined with the table at once, as if no
//     max_staleness were set. INSERT and TRUNCATE are refused with the DML that
//     the service refuses on such a table.
//   - A cut gRPC connection is the end of that stream with UNAVAILABLE.
package bigqueryfake
