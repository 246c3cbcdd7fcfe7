// Package demo shows the whole of Millrace on one machine, and proves it.
//
// It acts as a stranger would: it starts databases of its own, runs the binary
// on the example of examples/shop, writes to the databases while the binary
// runs, kills it once, and asks it over HTTP alone. What the warehouse holds in
// the end is compared, by package verify, with what it should hold.
package demo
