package warehouse

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"millrace/schemas"
)

func TestTouchMergesAdjacentHours(t *testing.T) {
	got, all := Touch("at", schemas.Timestamp, []int64{-1, 0, 1, 5}, true)
	want := [][2]string{{"1969-12-31T23:00:00Z", "1970-01-01T02:00:00Z"}, {"1970-01-01T05:00:00Z", "1970-01-01T06:00:00Z"}}
	if all || !got.Null || got.Column != "at" || !slices.Equal(got.Ranges, want) {
		t.Fatalf("got %+v all %v", got, all)
	}
}

func TestTouchFormats(t *testing.T) {
	for kind, want := range map[schemas.Kind][2]string{
		schemas.Date:     {"1970-01-02", "1970-01-03"},
		schemas.DateTime: {"1970-01-01T01:00:00", "1970-01-01T02:00:00"},
	} {
		got, _ := Touch("at", kind, []int64{1}, false)
		if !slices.Equal(got.Ranges, [][2]string{want}) {
			t.Errorf("%s: %v, want %v", kind, got.Ranges, want)
		}
	}
}

func TestTouchCoarsens(t *testing.T) {
	every := func(n, step int) (out []int64) {
		for i := range n {
			out = append(out, int64(i*step)-1000)
		}
		return out
	}
	for _, c := range []struct {
		name    string
		buckets []int64
		ranges  int
		all     bool
	}{
		{"as many as fit", every(MaxTouched, 2), MaxTouched, false},
		{"hours to one span of days", every(MaxTouched+1, 2), 1, false},
		{"hours to days", every(MaxTouched*2, 24*40), 0, false},
		{"everything", every(MaxTouched*2, 24*366*2), 0, true},
	} {
		got, all := Touch("at", schemas.Timestamp, c.buckets, false)
		if all != c.all || c.ranges > 0 && len(got.Ranges) != c.ranges || len(got.Ranges) > MaxTouched {
			t.Errorf("%s: %d ranges, all %v", c.name, len(got.Ranges), all)
		}
	}
}

// Whatever the widening, no touched hour is outside, and the ranges are sorted
// and disjoint.
func TestTouchCoversEveryBucket(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 50 {
		set := map[int64]bool{}
		for range rng.IntN(4000) {
			set[rng.Int64N(400*24*365)-200*24*365] = true
		}
		var buckets []int64
		for b := range set {
			buckets = append(buckets, b)
		}
		slices.Sort(buckets)
		got, all := Touch("at", schemas.Timestamp, buckets, false)
		if all {
			continue
		}
		i, last := 0, time.Time{}
		for _, r := range got.Ranges {
			from, err1 := time.Parse(time.RFC3339, r[0])
			to, err2 := time.Parse(time.RFC3339, r[1])
			if err1 != nil || err2 != nil || !from.Before(to) || !last.Before(from) {
				t.Fatalf("seed=%d: range %v after %v: %v %v", seed, r, last, err1, err2)
			}
			last = to
			for i < len(buckets) && buckets[i]*3600 >= from.Unix() && (buckets[i]+1)*3600 <= to.Unix() {
				i++
			}
		}
		if i != len(buckets) {
			t.Fatalf("seed=%d: hour %d is in no range", seed, buckets[i])
		}
	}
}
