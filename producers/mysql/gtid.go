package mysql

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// gtid is the server's number of one transaction: of MariaDB within a domain,
// of MySQL within an origin, which is a server's UUID and perhaps a tag.
type gtid struct {
	domain, server uint32
	origin         string
	seq            uint64
}

// String is empty for the anonymous transactions of a MySQL without GTIDs.
func (g gtid) String() string {
	switch {
	case g.origin != "":
		return g.origin + ":" + strconv.FormatUint(g.seq, 10)
	case g == gtid{}:
		return ""
	}
	return fmt.Sprintf("%d-%d-%d", g.domain, g.server, g.seq)
}

// gtidSet is the transactions of a log up to a place, as the server writes them.
type gtidSet interface {
	add(gtid)
	String() string
}

// lastGTIDs is MariaDB's set: the last gtid of every domain.
type lastGTIDs map[uint32]gtid

func parseLastGTIDs(text string) (lastGTIDs, error) {
	set := lastGTIDs{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		fields := strings.Split(part, "-")
		if len(fields) != 3 {
			return nil, fmt.Errorf("parse GTID %q: want domain-server-sequence", part)
		}
		domain, err1 := strconv.ParseUint(fields[0], 10, 32)
		server, err2 := strconv.ParseUint(fields[1], 10, 32)
		seq, err3 := strconv.ParseUint(fields[2], 10, 64)
		if err := cmp.Or(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("parse GTID %q: %w", part, err)
		}
		set[uint32(domain)] = gtid{domain: uint32(domain), server: uint32(server), seq: seq}
	}
	return set, nil
}

func (s lastGTIDs) add(g gtid) { s[g.domain] = g }

func (s lastGTIDs) String() string {
	parts := make([]string, 0, len(s))
	for _, g := range slices.SortedFunc(maps.Values(s), func(a, b gtid) int { return cmp.Compare(a.domain, b.domain) }) {
		parts = append(parts, g.String())
	}
	return strings.Join(parts, ",")
}

// gtidRanges is MySQL's set: of every origin the numbers, in order and apart.
type gtidRanges map[string][]gtidRange

type gtidRange struct{ first, last uint64 }

// parseGTIDRanges reads uuid:1-5:7:tag:1-3,uuid:… A tag holds for the ranges
// behind it.
func parseGTIDRanges(text string) (gtidRanges, error) {
	set := gtidRanges{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		fields := strings.Split(part, ":")
		origin := strings.ToLower(fields[0])
		if _, err := hex.DecodeString(strings.ReplaceAll(origin, "-", "")); err != nil || len(origin) != 36 || len(fields) < 2 {
			return nil, fmt.Errorf("parse GTIDs %q: want uuid:first-last", part)
		}
		uuid := origin
		for _, field := range fields[1:] {
			if field != "" && (field[0] < '0' || field[0] > '9') {
				origin = uuid + ":" + field
				continue
			}
			from, to, isRange := strings.Cut(field, "-")
			first, err := strconv.ParseUint(from, 10, 63)
			last := first
			if err == nil && isRange {
				last, err = strconv.ParseUint(to, 10, 63)
			}
			if err != nil || first == 0 || last < first {
				return nil, fmt.Errorf("parse GTIDs %q: %q is no range", part, field)
			}
			set.insert(origin, gtidRange{first, last})
		}
	}
	return set, nil
}

func (s gtidRanges) add(g gtid) {
	if g.origin == "" {
		return
	}
	ranges := s[g.origin]
	if n := len(ranges); n > 0 && ranges[n-1].last+1 == g.seq { // as good as always
		ranges[n-1].last++
		return
	}
	s.insert(g.origin, gtidRange{g.seq, g.seq})
}

// insert adds a range and joins it with what it touches.
func (s gtidRanges) insert(origin string, r gtidRange) {
	var out []gtidRange
	for _, have := range s[origin] {
		if have.last+1 < r.first || r.last+1 < have.first {
			out = append(out, have)
			continue
		}
		r = gtidRange{min(r.first, have.first), max(r.last, have.last)}
	}
	out = append(out, r)
	slices.SortFunc(out, func(a, b gtidRange) int { return cmp.Compare(a.first, b.first) })
	s[origin] = out
}

func (s gtidRanges) String() string {
	var b strings.Builder
	last := ""
	for _, origin := range slices.Sorted(maps.Keys(s)) { // a UUID before its tags
		uuid, tag, tagged := strings.Cut(origin, ":")
		if uuid != last {
			if last != "" {
				b.WriteByte(',')
			}
			b.WriteString(uuid)
			last = uuid
		}
		if tagged {
			b.WriteString(":" + tag)
		}
		for _, r := range s[origin] {
			b.WriteString(":" + strconv.FormatUint(r.first, 10))
			if r.last > r.first {
				b.WriteString("-" + strconv.FormatUint(r.last, 10))
			}
		}
	}
	return b.String()
}

// originOf is the origin of a GTID event of MySQL, empty if it is anonymous.
func originOf(sid []byte, tag string) string {
	h := hex.EncodeToString(sid)
	if len(h) != 32 || strings.Trim(h, "0") == "" {
		return ""
	}
	out := h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	if tag != "" {
		out += ":" + tag
	}
	return out
}
