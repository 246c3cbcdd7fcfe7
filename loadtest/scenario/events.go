package scenario

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"millrace/internal/kafka"
	"millrace/loadtest/workload"
	"millrace/schemas"
)

const partitions = 4 // as the product makes topics

// topic is the topic of a table of the workload.
func (r *rig) topic(t int) (string, error) {
	schema, table, _ := strings.Cut(r.tableID(t), ".")
	return kafka.Names{Prefix: r.prefix}.Table(kafka.TopicName{Source: "src", Schema: schema, Table: table, Generation: 1})
}

func (r *rig) topics() ([]string, error) {
	var out []string
	for t := range r.file.Workload.Tables {
		name, err := r.topic(t)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

// kinds are the vocabulary's words for types.
var kinds = map[workload.Type]schemas.Type{
	workload.Int: {Kind: schemas.Int}, workload.Text: {Kind: schemas.String}, workload.Long: {Kind: schemas.String},
	workload.Decimal: {Kind: schemas.Decimal, Precision: 18, Scale: 4}, workload.Bool: {Kind: schemas.Bool},
	workload.Double: {Kind: schemas.Float}, workload.Time: {Kind: schemas.Timestamp}, workload.Date: {Kind: schemas.Date},
}

// cell is a value of the workload as an event carries it.
func cell(t workload.Type, v any) (schemas.Cell, error) {
	switch v := v.(type) {
	case nil:
		return schemas.NullCell(), nil
	case int64:
		return schemas.IntCell(v), nil
	case bool:
		if v {
			return schemas.IntCell(1), nil
		}
		return schemas.IntCell(0), nil
	case float64:
		return schemas.FloatCell(v), nil
	case time.Time:
		return schemas.IntCell(v.UnixMicro()), nil
	case string:
		switch t {
		case workload.Decimal:
			n, err := strconv.ParseInt(strings.Replace(v, ".", "", 1), 10, 64)
			return schemas.BytesCell(schemas.AppendTwos(nil, n)), err
		case workload.Date:
			d, err := time.Parse(time.DateOnly, v)
			return schemas.IntCell(d.Unix() / 86_400), err
		}
		return schemas.BytesCell([]byte(v)), nil
	}
	return schemas.Cell{}, fmt.Errorf("a value is %T", v)
}

// text is a cell in the spelling of workload.Sum; nil for null.
func text(t schemas.Type, c schemas.Cell) *string {
	if c.Kind != schemas.Present {
		return nil
	}
	var out string
	switch t.Kind {
	case schemas.Float:
		out = strconv.FormatFloat(c.Float(), 'g', -1, 64)
	case schemas.Date:
		out = time.Unix(c.Int*86_400, 0).UTC().Format(time.DateOnly)
	case schemas.Decimal:
		out = new(big.Rat).SetFrac(twos(c.Bytes), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil)).FloatString(t.Scale)
	case schemas.String, schemas.Bytes, schemas.JSON:
		out = string(c.Bytes)
	default:
		out = strconv.FormatInt(c.Int, 10)
	}
	return &out
}

// twos reads a number in two's complement.
func twos(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}
