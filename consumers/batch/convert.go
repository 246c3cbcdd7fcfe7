package batch

import (
	"math/big"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// converter widens values on their way into a sink.
type converter struct {
	sink    warehouse.Sink
	convert []conversion
	buf     []byte
}

func (c *converter) Null(col int)             { c.sink.Null(col) }
func (c *converter) Float(col int, v float64) { c.sink.Float(col, v) }

func (c *converter) Int(col int, v int64) {
	if !c.convert[col].fromInt {
		c.sink.Int(col, v)
		return
	}
	c.Bytes(col, schemas.AppendTwos(c.buf[:0], v))
}

func (c *converter) Bytes(col int, b []byte) {
	n := c.convert[col].scale
	if n == 0 {
		c.sink.Bytes(col, b)
		return
	}
	v := schemas.TwosToBig(b)
	v.Mul(v, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil))
	c.buf = schemas.AppendBigTwos(c.buf[:0], v)
	c.sink.Bytes(col, c.buf)
}
