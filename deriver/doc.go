// Package deriver keeps derived tables up to date: it follows the loads of a
// table's inputs, maps them to what they dirty, computes that, and announces
// what changed.
//
// The order of a cycle is what makes it converge: the logs of loads are
// drained, and what they dirty is marked, before the run opens its snapshot of
// the inputs. A run may thus see more than was marked, and that load marks it
// again; it never sees less. The transaction that publishes also says which
// loads are absorbed and what stays dirty (G4), so that no load is absorbed
// whose effect is neither published nor dirty. A death at any point repeats
// work and loses none (G7).
//
// It does not schedule across tables: each has its own loop, and one follows
// another through its loads alone.
package deriver
