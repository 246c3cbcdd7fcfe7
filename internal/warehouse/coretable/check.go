package coretable

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Check says everything that is wrong with what a table is wanted to be. more are
// the modes that the warehouse has beside merge and append.
func Check(want warehouse.CoreTable, more ...schemas.Mode) error {
	errs := []error{checkNames(want.Columns)}
	if !slices.Contains(append(more, schemas.ModeMerge, schemas.ModeAppend), want.Mode) {
		errs = append(errs, fmt.Errorf("mode %q: a core table is merge or append", want.Mode))
	}
	if want.Mode != schemas.ModeAppend && len(want.Key) == 0 {
		errs = append(errs, errors.New("a table without a key cannot be merged"))
	}
	find := func(name string) int {
		return slices.IndexFunc(want.Columns, func(c schemas.Column) bool { return c.Name == name })
	}
	for _, k := range want.Key {
		if find(k) < 0 {
			errs = append(errs, fmt.Errorf("key column %q is not a column", k))
		}
	}
	for _, name := range want.EventTimes {
		i := find(name)
		if i < 0 {
			errs = append(errs, fmt.Errorf("event time %q is not a column", name))
		} else if t := want.Columns[i].Type; !t.Kind.IsEventTime() {
			errs = append(errs, fmt.Errorf("event time %q has type %s: want DATE, TIMESTAMP or DATETIME", name, t))
		}
	}
	return errors.Join(errs...)
}

// checkNames refuses names that a table cannot have side by side: warehouses do
// not tell upper case from lower case.
func checkNames(columns []schemas.Column) error {
	if len(columns) == 0 {
		return errors.New("a table needs a column")
	}
	seen := map[string]string{}
	var errs []error
	for _, c := range columns {
		lower := asciiLower(c.Name)
		switch {
		case c.Name == "" || strings.ContainsRune(c.Name, 0):
			errs = append(errs, fmt.Errorf("column %q: a name cannot be empty or hold a zero byte", c.Name))
		case sqlgen.IsReserved(c.Name):
			errs = append(errs, fmt.Errorf("column %q: the name is one of Millrace's own", c.Name))
		case seen[lower] != "":
			errs = append(errs, fmt.Errorf("columns %q and %q: the warehouse does not tell their names apart", seen[lower], c.Name))
		}
		seen[lower] = c.Name
	}
	return errors.Join(errs...)
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// CheckBatch refuses a batch that cannot be of its topic.
func CheckBatch(b *warehouse.Batch) error {
	if b.Partitions <= 0 {
		return errors.New("batch without its topic's number of partitions")
	}
	for p := range b.Marks {
		if p < 0 || p >= b.Partitions {
			return fmt.Errorf("mark of partition %d of %d", p, b.Partitions)
		}
	}
	for _, r := range b.Ranges {
		if r.Partition < 0 || r.Partition >= b.Partitions || r.From < 0 || r.To < r.From {
			return fmt.Errorf("offsets %d to %d of partition %d of %d", r.From, r.To, r.Partition, b.Partitions)
		}
	}
	return nil
}

// CheckCounts refuses a batch whose counts do not say where every change went
// (G11).
func CheckCounts(c schemas.RowCounts, staged int64) error {
	if c.Read != c.Folded+c.Quarantined+staged {
		return fmt.Errorf("%d changes were read, but %d folded, %d quarantined and %d staged", c.Read, c.Folded, c.Quarantined, staged)
	}
	return nil
}
