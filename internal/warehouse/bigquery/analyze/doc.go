// Package analyze has no code: its test reads every statement that BigQuery is
// told, and each query of the examples, by the analyzer of GoogleSQL, against
// the tables that the statements make. It is a module of its own because the
// analyzer takes minutes to build. It takes a little more than BigQuery does; that
// lists, structs and JSON can be compared or grouped is not among it.
package analyze
