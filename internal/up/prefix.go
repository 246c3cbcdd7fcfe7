package up

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/internal/config"
)

// checkPrefix refuses a warehouse that was loaded under another prefix, before
// anything is made at the sources: its tables would wait for ever for topics
// that nobody writes to.
func (p *process) checkPrefix(ctx context.Context) error {
	if p.warehouse == nil {
		return nil
	}
	table, topic, err := p.warehouse.Loaded(ctx)
	if err != nil {
		return fmt.Errorf("look for the prefix of the warehouse: %w", err)
	}
	for _, f := range foreign(p.Config, map[string]string{table: topic}) {
		return fmt.Errorf("%s, and the configuration says prefix: %s: %s", f.problem, p.Config.Prefix, f.cure)
	}
	return nil
}

// foreigner is another prefix of which the warehouse has tables.
type foreigner struct{ problem, cure string }

// foreign are the prefixes that are not the configuration's, of the topics from which
// the warehouse's tables were loaded, by table.
func foreign(c *config.Config, topics map[string]string) (out []foreigner) {
	first, more := map[string]string{}, map[string]int{}
	for _, table := range slices.Sorted(maps.Keys(topics)) {
		prefix, _, _ := strings.Cut(topics[table], ".")
		if table == "" || prefix == c.Prefix {
			continue
		}
		if first[prefix] == "" {
			first[prefix] = table
		} else {
			more[prefix]++
		}
	}
	for _, prefix := range slices.Sorted(maps.Keys(first)) {
		table := first[prefix]
		problem := fmt.Sprintf("%s belongs to the prefix %s: its %s was loaded from topic %s", place(c), prefix, table, topics[table])
		if n := more[prefix]; n > 0 {
			problem += fmt.Sprintf(", and %d more of it", n)
		}
		out = append(out, foreigner{problem, fmt.Sprintf("write prefix: %s again, or name another %s", prefix, otherPlace(c))})
	}
	return out
}
