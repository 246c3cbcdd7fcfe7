package sim

import (
	"math/rand/v2"

	"millrace/schemas"
)

const chunks = 2 // of keys/chunks keys; above them, one chunk for each key that is read again

type checkpoint struct {
	lineage  int
	next     int // into the log
	last     Pos // the last completed transaction
	high     Pos // the highest read point of what was read
	since    Pos // below it values may have changed without an event
	snapshot bool
	done     [chunks]bool
	read     [chunks]Pos
	reread   [keys]Pos // the change that calls for it
}

type chunk struct {
	open     bool
	loaded   bool
	read     Pos
	rewrites int
	rows     []Change
}

// Producer writes the topic. All that it does in one step is one Kafka transaction.
type Producer struct {
	rules Rules
	src   *Source
	checkpoint
	before, newest checkpoint
	late           int   // transactions without a checkpoint, for the rule that forbids them
	tail           []int // where the newest transaction begins in each partition
	topic          [][]Change
	work           [chunks + keys]chunk
}

func (p *Producer) part(key int) int { return key % len(p.topic) }

func (p *Producer) begin() {
	for i := range p.topic {
		p.tail[i] = len(p.topic[i])
	}
	if p.lineage != p.src.lineage || p.src.lost {
		p.src.Break(p.lineage != p.src.lineage)
		p.checkpoint = checkpoint{lineage: p.src.lineage, since: p.since, last: p.last, snapshot: true}
		if !p.rules.no(SinceGap) {
			p.since = at(p.src.epoch, 0, 0, 0)
		}
		p.work = [chunks + keys]chunk{}
	}
}

func (p *Producer) commit() {
	if p.rules.no(EpochFirst) && p.newest.lineage != p.lineage && p.late < 6 {
		p.late++
		return
	}
	p.late, p.before, p.newest = 0, p.newest, p.checkpoint
}

func (p *Producer) send(c Change) {
	if c.Op == schemas.Truncate || c.Op == schemas.SnapshotDone || c.Op == schemas.Watermark {
		for i := range p.topic {
			p.topic[i] = append(p.topic[i], c)
		}
		return
	}
	p.topic[p.part(c.Key)] = append(p.topic[p.part(c.Key)], c)
}

// Stream sends up to n transactions.
func (p *Producer) Stream(n int) {
	p.begin()
	for ; n > 0 && p.next < len(p.src.log); n-- {
		t := p.src.log[p.next]
		if t.ddl {
			if !p.rules.no(SinceDDL) {
				p.since = t.end
			}
			if !p.rules.no(RestartOnDDL) || !p.snapshot {
				p.snapshot, p.done = true, [chunks]bool{}
				p.work = [chunks + keys]chunk{}
			}
		}
		for _, c := range t.events {
			unset := c.At[0] == 0 || c.At[1] == 0
			switch {
			case c.Op == schemas.Create && unset:
				if !p.rules.no(RereadKey) {
					p.reread[c.Key] = c.Pos
				}
				if p.rules.no(DeadKnowsNothing) {
					c.Op, c.Born = schemas.Update, p.since
				}
			case c.Op == schemas.Delete && p.rules.no(DeadKnowsNothing):
				c.Born = 0
			case c.Op == schemas.Update && p.rules.no(SinceOnly):
				c.Born = at(int(c.Pos>>56), 0, 0, 0)
			case c.Op == schemas.Update:
				c.Born = p.since
			}
			p.send(c)
		}
		p.next, p.last = p.next+1, t.end
	}
	p.commit()
}

// Watermark promises that nothing below it follows but repeats.
func (p *Producer) Watermark() {
	p.begin()
	waits := p.snapshot && !p.rules.no(WatermarkWaits)
	for _, again := range p.reread {
		waits = waits || again > 0 && !p.rules.no(WatermarkWaitsKey)
	}
	if p.next == len(p.src.log) {
		p.last = max(p.last, p.high) // all of the log was read
	}
	waits = waits || p.last < p.high && !p.rules.no(WatermarkHigh)
	if !waits && p.last > 0 {
		p.send(Change{Op: schemas.Watermark, Pos: p.last})
	}
	p.commit()
}

// Snapshot moves one chunk on: takes its read point, reads it, or sends some of it.
func (p *Producer) Snapshot(rng *rand.Rand) {
	p.begin()
	defer p.commit()
	n := rng.IntN(chunks + keys)
	if n < chunks && (!p.snapshot || p.done[n]) || n >= chunks && p.reread[n-chunks] == 0 {
		return
	}
	w := &p.work[n]
	switch {
	case !w.open:
		*w = chunk{open: true, read: p.src.ReadPoint(), rewrites: p.src.rewrites}
		for k := range keys {
			im := p.src.rows[k]
			if im.live && (n < chunks && k*chunks/keys == n || n-chunks == k) {
				w.rows = append(w.rows, Change{Op: schemas.Read, Key: k, Pos: w.read, V: im.v, At: [cols]Pos{w.read, w.read}})
			}
		}
		return
	case !w.loaded && w.rewrites != p.src.rewrites: // the rows are gone from under the snapshot
		if *w = (chunk{loaded: true, open: true, read: w.read}); !p.rules.no(Filenode) {
			*w = chunk{}
		}
		return
	case !w.loaded:
		w.loaded = true
		return
	}
	for len(w.rows) > 0 && rng.IntN(3) > 0 {
		p.send(w.rows[0])
		w.rows = w.rows[1:]
	}
	if len(w.rows) > 0 {
		return
	}
	p.high = max(p.high, w.read)
	if n >= chunks {
		if w.read > p.reread[n-chunks] || p.rules.no(RereadAbove) {
			p.reread[n-chunks] = 0
		}
	} else {
		p.done[n], p.read[n] = true, w.read
	}
	*w = chunk{}
	if n < chunks && p.done == [chunks]bool{true, true} {
		f := min(p.read[0], p.read[1])
		if p.rules.no(LowestF) {
			f = max(p.read[0], p.read[1])
		}
		p.send(Change{Op: schemas.SnapshotDone, Pos: f, Born: max(p.read[0], p.read[1])}) // Born: for the checks alone
		p.snapshot, p.done = false, [chunks]bool{}
	}
}

// Crash forgets what was not checkpointed. A torn crash loses the newest transaction in some
// partitions, its checkpoint perhaps with it, and resumes from the checkpoint before the newest
// one that is left.
func (p *Producer) Crash(rng *rand.Rand, torn bool) {
	p.work = [chunks + keys]chunk{}
	if !torn {
		p.checkpoint = p.newest
		return
	}
	for i, n := range p.tail {
		if rng.IntN(2) == 0 {
			p.topic[i] = p.topic[i][:n]
		}
	}
	if p.checkpoint = p.before; p.rules.no(PrevCheckpoint) {
		p.checkpoint = p.newest
	}
	p.newest = p.checkpoint
}
