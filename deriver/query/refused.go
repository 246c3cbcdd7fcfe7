package query

import (
	"fmt"
	"slices"
	"strings"

	"millrace/internal/warehouse"
)

// unsteady are the functions that give another answer each time, which a
// derived table, a function of its inputs, cannot have (G7).
var unsteady = []string{
	"now", "current_date", "current_time", "current_timestamp", "current_datetime", "get_current_time", "get_current_timestamp",
	"transaction_timestamp", "today", "localtime", "localtimestamp", "current_localtime", "current_localtimestamp", "random", "rand",
	"setseed", "uuid", "gen_random_uuid", "generate_uuid", "uuidv4", "uuidv7", "nextval", "currval", "getenv", "session_user", "txid_current",
}

// tableFunctions are those that read nothing but their arguments.
var tableFunctions = []string{"unnest", "range", "generate_series", "json_each", "json_tree", "generate_date_array"}

// refused finds what the platform does not take although the warehouse does.
func refused(parsed warehouse.Parsed, relations []string) []Problem {
	var out []Problem
	add := func(offset int, cure, format string, args ...any) {
		out = append(out, Problem{offset, fmt.Sprintf(format, args...), cure})
	}
	if parsed.Statements != 1 {
		add(0, "write one SELECT", "has %d statements", parsed.Statements)
	}
	for _, t := range parsed.Tables {
		switch {
		case t.Catalog != "":
			add(t.Offset, "write dataset.table", "%s.%s.%s names a database", t.Catalog, t.Dataset, t.Table)
		case t.Dataset == "" && !slices.Contains(relations, t.Table):
			add(t.Offset, "write dataset.table, or define it in WITH", "%q is a table without a dataset", t.Table)
		case t.Sampled:
			add(t.Offset, "read all of the table", "a sample or a past version of %s.%s gives another result each time", t.Dataset, t.Table)
		}
	}
	for _, c := range parsed.Columns {
		if len(c.Names) < 3 {
			continue
		}
		for _, t := range parsed.Tables {
			if t.Dataset != "" && strings.EqualFold(t.Dataset, c.Names[0]) && strings.EqualFold(t.Table, c.Names[1]) {
				add(c.Offset, fmt.Sprintf("write %s.%s, or give the table an alias", c.Names[1], strings.Join(c.Names[2:], ".")),
					"the column %s names the dataset of its table", strings.Join(c.Names, "."))
				break
			}
		}
	}
	for _, f := range parsed.Functions {
		name := strings.ToLower(f.Name)
		switch {
		case f.Table && !slices.Contains(tableFunctions, name):
			add(f.Offset, "read tables of the platform", "the table function %s reads what the platform does not follow", f.Name)
		case slices.Contains(unsteady, name):
			add(f.Offset, "compute from the inputs, or from @window_start and @window_end", "%s gives another result each time", f.Name)
		}
	}
	return out
}
