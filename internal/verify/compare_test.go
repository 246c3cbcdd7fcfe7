package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace/internal/page"
)

// table makes a result of texts: columns, types, and rows in which "-" is NULL.
func table(columns, types string, rows ...string) *page.Table {
	t := &page.Table{Columns: strings.Fields(columns), Types: strings.Fields(types)}
	for _, text := range rows {
		var row []*string
		for _, v := range strings.Fields(text) {
			if v == "-" {
				row = append(row, nil)
				continue
			}
			row = append(row, &v)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func TestCompareFindsEachKindOfDifference(t *testing.T) {
	const columns, types = "id amount", "BIGINT DECIMAL"
	want := table(columns, types, "1 10", "2 20", "3 -")
	for name, c := range map[string]struct {
		got  *page.Table
		key  []string
		diff []string
	}{
		"equal":             {table(columns, types, "1 10", "2 20", "3 -"), []string{"id"}, nil},
		"rows in any order": {table(columns, types, "3 -", "1 10", "2 20"), []string{"id"}, nil},
		"columns in any order": {
			table("amount id", "DECIMAL BIGINT", "10 1", "20 2", "- 3"),
			[]string{"id"},
			nil,
		},
		"a missing row":       {table(columns, types, "1 10", "3 -"), []string{"id"}, []string{"missing: id=2 amount=20"}},
		"an extra row":        {table(columns, types, "1 10", "2 20", "3 -", "4 40"), []string{"id"}, []string{"extra: id=4 amount=40"}},
		"a row that is twice": {table(columns, types, "1 10", "2 20", "2 20", "3 -"), []string{"id"}, []string{"extra: id=2 amount=20"}},
		"a wrong value": {
			table(columns, types, "1 10", "2 21", "3 -"),
			[]string{"id"},
			[]string{"differs: id=2: amount should be 20, is 21"},
		},
		"null is a value": {
			table(columns, types, "1 10", "2 20", "3 0"),
			[]string{"id"},
			[]string{"differs: id=3: amount should be NULL, is 0"},
		},
		"without a key": {
			table(columns, types, "1 10", "2 21", "3 -"),
			nil,
			[]string{"missing: id=2 amount=20", "extra: id=2 amount=21"},
		},
		"a missing column": {table("id", "BIGINT", "1", "2", "3"), []string{"id"}, []string{"column: amount: is not in the warehouse"}},
		"an extra column": {
			table("id amount x", "BIGINT DECIMAL BIGINT", "1 10 1", "2 20 1", "3 - 1"),
			[]string{"id"},
			[]string{"column: x: is in the warehouse only"},
		},
		"another type": {
			table(columns, "BIGINT DOUBLE", "1 10", "2 20", "3 -"),
			[]string{"id"},
			[]string{"column: amount: should be DECIMAL, is DOUBLE"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range Compare("t", want, c.got, c.key).Differences {
				got = append(got, d.String())
			}
			if !slices.Equal(got, c.diff) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.diff, "\n"))
			}
		})
	}
}

// Values that print alike with what is beside them are still other values.
func TestIdentityDoesNotMixColumns(t *testing.T) {
	a, b, ab, empty, n := "a", "b", "ab", "", "N;"
	rows := [][]*string{{&a, &b}, {&ab, &empty}, {&empty, &ab}, {nil, &ab}, {&n, &ab}, {&empty, nil}, {nil, nil}, {nil}}
	seen := make(map[string]int)
	for i, row := range rows {
		if other, ok := seen[identity(row)]; ok {
			t.Errorf("rows %d and %d are one", other, i)
		}
		seen[identity(row)] = i
	}
}

func TestManyDifferencesAreAllCounted(t *testing.T) {
	var rows []string
	for i := range 1000 {
		rows = append(rows, fmt.Sprintf("%d 1", i))
	}
	report := Compare("t", table("id n", "BIGINT BIGINT", rows...), table("id n", "BIGINT BIGINT"), []string{"id"})
	if len(report.Differences) != 1000 || report.Rows != 1000 {
		t.Errorf("%d differences of %d rows", len(report.Differences), report.Rows)
	}
}
