package up

import (
	"context"
	"fmt"
	"strings"
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
	if prefix, _, _ := strings.Cut(topic, "."); table != "" && prefix != p.Config.Prefix {
		return fmt.Errorf("%s belongs to the prefix %s: its %s was loaded from topic %s, and the configuration says prefix: %s: "+
			"write prefix: %s again, or name another %s", p.place(), prefix, table, topic, p.Config.Prefix, prefix, p.otherPlace())
	}
	return nil
}
