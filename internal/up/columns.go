package up

import (
	"context"
	"errors"
	"fmt"

	"millrace/deriver/graph"
	"millrace/internal/warehouse"
	"millrace/schemas"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

// graphTables are the core tables, with their columns where the dialect is
// given. Those whose topics have no schema yet, because nothing was captured of
// them, are named as unknown and have no columns. Unless reads is nil, only the
// tables in it are asked for.
func (p *process) graphTables(ctx context.Context, dialect warehouse.Dialect, reads map[string]bool) (out []graph.Table, unknown []string, err error) {
	tables, err := p.tables()
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tables {
		core := graph.Table{Name: t.Core, EventTimes: t.EventTimes, Upsert: t.Upsert}
		history := graph.Table{Name: t.History, EventTimes: t.EventTimes, Append: true}
		if dialect != nil && (reads == nil || reads[t.Core] || reads[t.History]) {
			switch err := p.known(ctx, dialect, t.Topic, &core, &history); {
			case errors.Is(err, registry.ErrUnknown):
				unknown = append(unknown, t.Core)
			case err != nil:
				return nil, nil, err
			}
		}
		out = append(out, core)
		if t.History != "" {
			out = append(out, history)
		}
	}
	return out, unknown, nil
}

// known tells columns and key as the warehouse has them, and of what it has not
// yet, as it will.
func (p *process) known(ctx context.Context, dialect warehouse.Dialect, topic string, core, history *graph.Table) error {
	missing := false
	for _, t := range []*graph.Table{core, history} {
		if t.Name == "" {
			continue
		}
		there := false
		if p.warehouse != nil {
			is, err := p.warehouse.Core(ctx, t.Name)
			if there = err == nil; there {
				t.Key, t.Columns = is.Key, dialect.CoreColumns(is.Mode, is.Columns)
				t.Append = is.Mode == schemas.ModeAppend
			} else if !errors.Is(err, warehouse.ErrNoTable) {
				return err
			}
		}
		missing = missing || !there
	}
	if !missing {
		return nil
	}
	var later, laterHistory graph.Table
	if err := p.describe(ctx, dialect, topic, &later, &laterHistory); err != nil {
		return err
	}
	if core.Columns == nil {
		core.Key, core.Columns, core.Append = later.Key, later.Columns, later.Append
	}
	if history.Columns == nil {
		history.Columns = laterHistory.Columns
	}
	return nil
}

// describe tells columns and key: as the source says if it was asked, else from
// the newest schemas of the topic.
func (p *process) describe(ctx context.Context, dialect warehouse.Dialect, topic string, core, history *graph.Table) error {
	if t := p.surveyed[topic]; t != nil {
		for _, c := range t.KeyColumns() {
			core.Key = append(core.Key, c.Name)
		}
		core.Append = len(core.Key) == 0 // rows without a key are only added
		setColumns(dialect, t.Columns, core, history)
		return nil
	}
	if p.registry == nil {
		return registry.ErrUnknown
	}
	value, err := p.registry.Latest(ctx, topic+"-value")
	if err != nil {
		return err
	}
	columns, err := avro.ParseValueSchema(value)
	if err != nil {
		return fmt.Errorf("read the schema of %s: %w", topic, err)
	}
	switch key, err := p.registry.Latest(ctx, topic+"-key"); {
	case errors.Is(err, registry.ErrUnknown):
		core.Append = true // rows without a key are only added
	case err != nil:
		return err
	default:
		keys, err := avro.ParseKeySchema(key)
		if err != nil {
			return fmt.Errorf("read the key's schema of %s: %w", topic, err)
		}
		for _, c := range keys {
			core.Key = append(core.Key, c.Name)
		}
	}
	setColumns(dialect, columns, core, history)
	return nil
}

func setColumns(dialect warehouse.Dialect, columns []schemas.Column, core, history *graph.Table) {
	core.Columns = dialect.CoreColumns(modeOf(core), columns)
	history.Columns = dialect.CoreColumns(schemas.ModeAppend, columns)
}

func modeOf(t *graph.Table) schemas.Mode {
	if t.Append {
		return schemas.ModeAppend
	}
	return schemas.ModeMerge
}
