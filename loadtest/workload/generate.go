// Package workload makes the changes of a measurement from a seed: the same
// seed gives the same changes, on every machine.
//
// It decides what is written and when. It writes nothing itself.
package workload

import (
	"math/rand/v2"
	"time"
)

// Spec says what the changes are like.
type Spec struct {
	Seed        uint64
	Tables      int
	Width       int    // columns of a table, at least three
	Types       []Type // of the columns, in turn
	Mix         Mix
	Toast       int     // of 100 rows, so many have a value that is stored beside the row
	Zipf        float64 // above 1: few keys get most changes; 0: all keys alike
	Transaction int     // changes of a transaction
	Late        int     // of 100 rows, so many have an event time up to 30 days back
	Burst       Burst
}

// Mix is how often each kind of change comes, in parts.
type Mix struct{ Insert, Update, Delete, Key int }

// Burst multiplies the rate of an open loop for a while, again and again.
type Burst struct {
	Every, For time.Duration // zero: no bursts
	Times      float64
}

// Kind is what a change does.
type Kind uint8

// The kinds of changes.
const (
	Insert Kind = iota
	Update
	Delete
	Key // the row gets another key
)

// Op is one change of one row.
type Op struct {
	Kind       Kind
	Table      int
	Key        int64 // what the row has afterwards, or had before it was deleted
	Old        int64 // of Key: the key before
	Version    int32
	IntendedUs int64
}

// Events is how many change events it makes: a key change is a delete and a
// create.
func (o Op) Events() int64 {
	if o.Kind == Key {
		return 2
	}
	return 1
}

// Tx is one transaction. No key is in it twice, so that its changes may be made
// in any order.
type Tx []Op

// Events is how many change events it makes.
func (t Tx) Events() (n int64) {
	for _, o := range t {
		n += o.Events()
	}
	return n
}

// Generator makes transactions, one after the other.
type Generator struct {
	spec Spec
	rng  *rand.Rand
	zipf *rand.Zipf
	live [][]Op // per table, the last change of every row that is there
	next int64
}

// New starts at an empty database.
func New(s Spec) *Generator {
	rng := rand.New(rand.NewPCG(s.Seed, s.Seed)) //nolint:gosec // it is to be repeatable
	g := &Generator{spec: s, rng: rng, live: make([][]Op, s.Tables)}
	if s.Zipf > 1 {
		g.zipf = rand.NewZipf(rng, s.Zipf, 8, 1<<20)
	}
	return g
}

// Rows calls each for every row that is there, with its last change.
func (g *Generator) Rows(table int, each func(Op)) {
	for _, o := range g.live[table] {
		each(o)
	}
}

// Fill is a transaction of n new rows, over all tables.
func (g *Generator) Fill(n int, intended time.Time) Tx {
	tx := make(Tx, 0, n)
	for range n {
		tx = append(tx, g.insert(g.rng.IntN(g.spec.Tables), intended.UnixMicro()))
	}
	return tx
}

// Next is the next transaction, of at most n changes, which were to be made at
// the time.
func (g *Generator) Next(n int, intended time.Time) Tx {
	n = min(n, g.spec.Transaction)
	tx, used, us := make(Tx, 0, n), make(map[int64]bool, n), intended.UnixMicro()
	m := g.spec.Mix
	for range n {
		table := g.rng.IntN(g.spec.Tables)
		k := g.rng.IntN(m.Insert + m.Update + m.Delete + m.Key)
		at := -1
		if k >= m.Insert {
			at = g.pick(table, used)
		}
		var o Op
		switch {
		case at < 0:
			o = g.insert(table, us)
		case k < m.Insert+m.Update:
			o = g.live[table][at]
			o.Kind, o.Old, o.IntendedUs = Update, 0, us
			o.Version++
			g.live[table][at] = o
		case k < m.Insert+m.Update+m.Delete:
			o = g.take(table, at)
			o.Kind, o.Old, o.IntendedUs = Delete, 0, us
		default:
			old := g.take(table, at)
			o = g.insert(table, us)
			o.Kind, o.Old = Key, old.Key
			g.live[table][len(g.live[table])-1] = o
			used[o.Old] = true
		}
		used[o.Key] = true
		tx = append(tx, o)
	}
	return tx
}

// pick is the place of a row that the transaction has not met, or -1.
func (g *Generator) pick(table int, used map[int64]bool) int {
	live := g.live[table]
	for range 8 {
		if len(live) == 0 {
			return -1
		}
		var at int
		if g.zipf != nil {
			at = int(g.zipf.Uint64() % uint64(len(live))) //nolint:gosec // an index
		} else {
			at = g.rng.IntN(len(live))
		}
		if !used[live[at].Key] {
			return at
		}
	}
	return -1
}

func (g *Generator) insert(table int, us int64) Op {
	g.next++
	o := Op{Kind: Insert, Table: table, Key: g.next, IntendedUs: us}
	g.live[table] = append(g.live[table], o)
	return o
}

func (g *Generator) take(table, at int) Op {
	live := g.live[table]
	o := live[at]
	last := len(live) - 1
	live[at] = live[last]
	g.live[table] = live[:last]
	return o
}

// Schedule is the open loop: when each transaction is to be made, whatever
// became of those before it.
type Schedule struct {
	Begin time.Time
	Rate  float64 // changes a second
	Each  int     // changes of a transaction
	Burst Burst

	at time.Duration
}

// Next is when the next transaction is due.
func (s *Schedule) Next() time.Time {
	due := s.Begin.Add(s.at)
	rate := s.Rate
	if b := s.Burst; b.Every > 0 && s.at%b.Every < b.For {
		rate *= b.Times
	}
	s.at += time.Duration(float64(s.Each) / rate * float64(time.Second))
	return due
}
