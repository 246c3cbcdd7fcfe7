package bigquery

// bound and boundText widen the bounds of a key by a value.
func (c *rowColumn) bound(v int64) {
	if !c.seen || v < c.least {
		c.least = v
	}
	if !c.seen || v > c.most {
		c.most = v
	}
	c.seen = true
}

func (c *rowColumn) boundText(b []byte) {
	if !c.seen || string(b) < string(c.minTxt) {
		c.minTxt = append(c.minTxt[:0], b...)
	}
	if !c.seen || string(b) > string(c.maxTxt) {
		c.maxTxt = append(c.maxTxt[:0], b...)
	}
	c.seen = true
}
