package source

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
)

// dialect is what differs between databases that speak SQL.
type dialect struct {
	types   map[workload.Type]string // of columns
	options string                   // behind a table's definition
	update  func(b *strings.Builder, table string, columns []workload.Column, rows func(first bool))
	// sum is an expression for the text of a column in the spelling of
	// workload.Sum; absent: the column as it is.
	sum map[workload.Type]string
}

// rowsPerStatement is how many rows one statement writes.
const rowsPerStatement = 500

// create is the statements that make a table.
func (d *dialect) create(p Place, table int) []string {
	name := p.Table(table)
	var defs []string
	for _, c := range p.Spec.Columns() {
		def := c.Name + " " + d.types[c.Type]
		if c.Name == workload.ID {
			def += " PRIMARY KEY"
		}
		defs = append(defs, def)
	}
	return []string{"DROP TABLE IF EXISTS " + name, fmt.Sprintf("CREATE TABLE %s (%s)%s", name, strings.Join(defs, ", "), d.options)}
}

// transaction appends the statements of a transaction. Its changes are grouped
// by what they do, which is the same because no key is in it twice, and go by key,
// so that two writers wait for each other and do not lock each other out.
func (d *dialect) transaction(b *strings.Builder, p Place, tx workload.Tx) {
	b.WriteString("BEGIN;")
	groups := map[[2]int][]workload.Op{}
	var order [][2]int
	for _, o := range tx {
		what := int(o.Kind) * 2
		if o.WritesNote() {
			what++
		}
		at := [2]int{o.Table, what}
		if groups[at] == nil {
			order = append(order, at)
		}
		groups[at] = append(groups[at], o)
	}
	slices.SortFunc(order, func(x, y [2]int) int { return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1])) })
	for _, at := range order {
		ops := groups[at]
		slices.SortFunc(ops, func(x, y workload.Op) int { return cmp.Compare(x.Key, y.Key) })
		for part := range slices.Chunk(ops, rowsPerStatement) {
			d.statement(b, p, at[0], part)
		}
	}
	b.WriteString("COMMIT;")
}

// statement appends one statement for changes of one kind.
func (d *dialect) statement(b *strings.Builder, p Place, table int, ops []workload.Op) {
	name, columns := p.Table(table), p.Spec.Columns()
	rows := func(columns []workload.Column) func(bool) {
		return func(cast bool) {
			for i, o := range ops {
				if i > 0 {
					b.WriteByte(',')
				}
				b.WriteByte('(')
				for j, c := range columns {
					if j > 0 {
						b.WriteByte(',')
					}
					writeLiteral(b, p.Spec.Value(c, o))
					if cast && i == 0 {
						b.WriteString("::" + d.types[c.Type])
					}
				}
				b.WriteByte(')')
			}
		}
	}
	switch ops[0].Kind {
	case workload.Insert:
		fmt.Fprintf(b, "INSERT INTO %s (%s) VALUES ", name, names(columns))
		rows(columns)(false)
	case workload.Update:
		written := columns
		if !ops[0].WritesNote() {
			written = slices.DeleteFunc(slices.Clone(columns), func(c workload.Column) bool { return c.Type == workload.Long })
		}
		d.update(b, name, written, rows(written))
	case workload.Delete:
		fmt.Fprintf(b, "DELETE FROM %s WHERE id IN (", name)
		for i, o := range ops {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprint(b, o.Key)
		}
		b.WriteByte(')')
	case workload.Key:
		for i, o := range ops {
			if i > 0 {
				b.WriteByte(';')
			}
			fmt.Fprintf(b, "UPDATE %s SET ", name)
			for j, c := range columns {
				if j > 0 {
					b.WriteByte(',')
				}
				b.WriteString(c.Name + "=")
				writeLiteral(b, p.Spec.Value(c, o))
			}
			fmt.Fprintf(b, " WHERE id=%d", o.Old)
		}
	}
	b.WriteByte(';')
}

func names(columns []workload.Column) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.Name
	}
	return strings.Join(out, ",")
}

// writeLiteral writes a value of the workload, whose texts hold no quotes.
func writeLiteral(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("NULL")
	case bool:
		if v {
			b.WriteString("TRUE")
		} else {
			b.WriteString("FALSE")
		}
	case string:
		b.WriteString("'" + v + "'")
	case time.Time:
		b.WriteString("'" + v.UTC().Format("2006-01-02 15:04:05.000000") + "'")
	default:
		fmt.Fprint(b, v)
	}
}

// read reads the rows of a table by a plain SELECT.
func (d *dialect) read(ctx context.Context, db *sql.DB, p Place, table int) (measure.Rows, error) {
	columns := p.Spec.Columns()
	texts := make([]string, len(columns))
	for i, c := range columns {
		texts[i] = c.Name
		if e := d.sum[c.Type]; e != "" {
			texts[i] = fmt.Sprintf(e, c.Name)
		}
	}
	rows, err := db.QueryContext(ctx, "SELECT "+strings.Join(texts, ", ")+" FROM "+p.Table(table))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.Table(table), err)
	}
	defer rows.Close()
	out := measure.Rows{}
	row, into := make([]*string, len(columns)), make([]any, len(columns))
	for i := range row {
		into[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, fmt.Errorf("read a row of %s: %w", p.Table(table), err)
		}
		var key int64
		if _, err := fmt.Sscan(*row[0], &key); err != nil {
			return nil, fmt.Errorf("read the key of a row of %s: %w", p.Table(table), err)
		}
		out[key] = workload.Sum(columns, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", p.Table(table), err)
	}
	return out, nil
}

func execute(ctx context.Context, db *sql.DB, statements ...string) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", strings.SplitN(s, "(", 2)[0], err)
		}
	}
	return nil
}
