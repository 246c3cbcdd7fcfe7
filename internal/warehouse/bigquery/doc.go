// Package bigquery keeps core tables in BigQuery. It is the only home of
// BigQuery's client.
//
// It promises what warehouse.Loader says. Rows are staged through the Storage
// Write API into a table that lives long, those of a snapshot also by load jobs
// of Avro files, which cost nothing; a load is one script, and so one
// transaction, under a job id of its own: if the reply to it is lost, the job
// is looked up, and another attempt is made only after the earlier one was seen
// to have ended (G4). What makes an old owner harmless is the head's epoch,
// tested in that transaction (G5), never the job id.
//
// It makes and changes tables by DDL outside of loads, and never by a load.
package bigquery
