// Package verify compares tables of the warehouse with what they should be,
// computed on another path through other code.
//
// What a core table should be is read from its source with plain SQL drivers;
// what a history should be is read from its topic with another Avro library;
// what a derived table should be is computed window by window, each alone, in a
// DuckDB of its own. None of it uses the producers, the consumers or the
// deriver, so that a fault of theirs cannot hide itself.
package verify
