package measure

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histogram holds times from a microsecond to an hour, to three digits.
type Histogram struct {
	h *hdrhistogram.Histogram
	// Clamped counts those outside of that; they are counted at its ends.
	Clamped int64
}

const least, most = 1, int64(time.Hour / time.Microsecond)

// NewHistogram is empty.
func NewHistogram() *Histogram { return &Histogram{h: hdrhistogram.New(least, most, 3)} }

// Add takes a time.
func (h *Histogram) Add(d time.Duration) {
	us := d.Microseconds()
	if us < least || us > most {
		if us < 0 || us > most { // below a microsecond is nothing to tell of
			h.Clamped++
		}
		us = max(least, min(us, most))
	}
	_ = h.h.RecordValue(us) // it is in the range
}

// Count is how many there are.
func (h *Histogram) Count() int64 { return h.h.TotalCount() }

// Quantile is the time that q of a hundred do not exceed, in milliseconds.
func (h *Histogram) Quantile(q float64) float64 {
	if h.Count() == 0 {
		return 0
	}
	return float64(h.h.ValueAtQuantile(q)) / 1000
}

// Max is the longest, in milliseconds.
func (h *Histogram) Max() float64 { return float64(h.h.Max()) / 1000 }

// Point is a quantile for a plot.
type Point struct {
	Quantile float64 `json:"quantile"`
	Ms       float64 `json:"ms"`
}

// Points are the quantiles that a plot shows.
func (h *Histogram) Points() []Point {
	if h.Count() == 0 {
		return nil
	}
	var out []Point
	for _, q := range []float64{0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100} {
		out = append(out, Point{q, h.Quantile(q)})
	}
	return out
}
