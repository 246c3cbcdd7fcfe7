package sim

import (
	"math/rand/v2"

	"millrace/schemas"
)

const keys = 4

type image struct {
	live bool
	v    [cols]int
}

type entry struct {
	pos Pos
	image
}

type txn struct {
	events []Change
	end    Pos
	ddl    bool
}

// Source is a table of a database, its log and, for the checks, its whole history.
type Source struct {
	rules               Rules
	mysql               bool
	epoch, major, minor int
	lineage             int
	lost                bool // the log was cut: what the producer has not read is gone
	rewrites            int
	value               int
	rows                [keys]image
	hist                [keys][]entry
	log                 []txn
}

func (s *Source) set(key int, pos Pos, im image) {
	s.rows[key] = im
	s.hist[key] = append(s.hist[key], entry{pos, im})
}

// imageAt is the row as of a position.
func (s *Source) imageAt(key int, p Pos) image {
	for i := len(s.hist[key]) - 1; i >= 0; i-- {
		if e := s.hist[key][i]; e.pos <= p {
			return e.image
		}
	}
	return image{}
}

func (s *Source) fresh() int { s.value++; return s.value }

// Transact commits one transaction of up to three statements.
func (s *Source) Transact(rng *rand.Rand) {
	var t txn
	s.major, s.minor = s.step(rng)
	compressed, seq, minor := s.mysql && rng.IntN(2) == 0, 0, rng.IntN(1000)
	if compressed {
		s.minor += 4
	}
	position := func(sameRecord bool) Pos {
		switch {
		case !s.mysql:
			if seq++; !sameRecord {
				minor, seq = minor+1, 1
			}
			return at(s.epoch, s.major, minor, seq)
		case compressed:
			seq++
		case sameRecord:
			seq++
		default:
			s.minor, seq = s.minor+2, 1
		}
		return at(s.epoch, s.major, s.minor, seq)
	}
	emit := func(op schemas.Op, key int, im image, unset [cols]bool, same bool) {
		c := Change{Op: op, Key: key, Pos: position(same)}
		if op != schemas.Update {
			c.Born = c.Pos
		}
		for i := range cols {
			if op != schemas.Delete && !unset[i] {
				c.V[i], c.At[i] = im.v[i], c.Pos
			}
		}
		s.set(key, c.Pos, im)
		t.events = append(t.events, c)
	}
	for range 1 + rng.IntN(3) {
		key := rng.IntN(keys)
		old := s.rows[key]
		im := image{true, [cols]int{s.fresh(), s.fresh()}}
		var unset [cols]bool
		if old.live {
			for i, odds := range [cols]int{4, 2} { // column 1 is the big one
				if rng.IntN(3) > 0 {
					im.v[i] = old.v[i]
					unset[i] = rng.IntN(odds) == 0
				}
			}
		}
		to := rng.IntN(keys)
		switch n := rng.IntN(20); {
		case !old.live:
			emit(schemas.Create, key, im, unset, false)
		case n < 4:
			emit(schemas.Delete, key, image{}, unset, false)
		case n < 6:
			emit(schemas.Delete, key, image{}, unset, false)
			emit(schemas.Create, key, im, [cols]bool{}, false)
		case n < 11 && !s.rows[to].live:
			emit(schemas.Delete, key, image{}, unset, false)
			emit(schemas.Create, to, im, unset, true)
		case n == 11:
			c := Change{Op: schemas.Truncate, Pos: position(false)}
			for k := range keys {
				s.set(k, c.Pos, image{})
			}
			t.events = append(t.events, c)
			s.rewrites++
		default:
			emit(schemas.Update, key, im, unset, false)
		}
	}
	t.end = t.events[len(t.events)-1].Pos
	if s.mysql && !compressed {
		s.minor++ // the commit's own event
	}
	s.log = append(s.log, t)
}

// step is where the next transaction stands.
func (s *Source) step(rng *rand.Rand) (major, minor int) {
	if !s.mysql {
		return s.major + 1 + rng.IntN(2), 0
	}
	if rng.IntN(8) == 0 {
		return s.major + 1, 4
	}
	return s.major, s.minor + 1
}

// Rewrite changes every row without a row event.
func (s *Source) Rewrite(rng *rand.Rand) {
	s.major, s.minor = s.step(rng)
	pos := at(s.epoch, s.major, s.minor, 1)
	for k, im := range s.rows {
		if im.live {
			s.set(k, pos, image{true, [cols]int{s.fresh(), s.fresh()}})
		}
	}
	s.rewrites++
	s.log = append(s.log, txn{end: pos, ddl: true})
	s.minor++
}

// Failover raises the epoch and loses nothing; the log goes on.
func (s *Source) Failover() { s.epoch, s.major, s.minor = s.epoch+1, 1, 4 }

// Break starts a new log at what the source holds now. A producer that has forgotten the epoch
// that it began takes the same number again.
func (s *Source) Break(forgotten bool) {
	if !forgotten || !s.rules.no(EpochFirst) {
		s.Failover()
	}
	s.log, s.lost = nil, false
	s.lineage++
}

// ReadPoint is a position above all that a snapshot taken now shows, and below all else.
func (s *Source) ReadPoint() Pos {
	switch {
	case !s.mysql:
		s.major++
		return at(s.epoch, s.major, 0, 0)
	case s.rules.no(ReadPoint):
		return at(s.epoch, s.major, 0, 0)
	case s.rules.no(ReadPointAbove):
		return at(s.epoch, s.major, s.minor, 0)
	}
	return at(s.epoch, s.major, s.minor, 0xff)
}
