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
	if p.duck == nil {
		return nil
	}
	heads, err := p.query(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'millrace' AND table_name LIKE 'core!_!_%!_!_head' ESCAPE '!' ORDER BY 1")
	if err != nil {
		return fmt.Errorf("look for the prefix of the warehouse: %w", err)
	}
	for _, row := range heads.Rows {
		head, err := p.query(ctx, `SELECT topic FROM millrace."`+strings.ReplaceAll(*row[0], `"`, `""`)+`" WHERE topic <> ''`)
		if err != nil {
			return fmt.Errorf("look for the prefix of the warehouse: %w", err)
		}
		for _, loaded := range head.Rows {
			if prefix, _, _ := strings.Cut(*loaded[0], "."); prefix != p.Config.Prefix {
				table := "core." + strings.TrimSuffix(strings.TrimPrefix(*row[0], "core__"), "__head")
				return fmt.Errorf("the data folder %s belongs to the prefix %s: its %s was loaded from topic %s, and the configuration says prefix: %s: "+
					"write prefix: %s again, or name another folder under data", p.Config.Data, prefix, table, *loaded[0], p.Config.Prefix, prefix)
			}
		}
	}
	return nil
}
