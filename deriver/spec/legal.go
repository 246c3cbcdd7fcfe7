package spec

import (
	"fmt"
	"slices"

	"millrace/schemas"
)

// combine fills the defaults of strategy and scope and refuses what does not
// go together, with the nearest combination that does.
func (p *parser) combine() {
	s := p.spec
	windowed := p.lines["window"] > 0
	if s.Window != nil && !windowed {
		p.fault(p.lines["begin"], "begin", "needs a window", "add window: day, or leave begin out")
		s.Window = nil
	}
	if s.Strategy == "" {
		s.Strategy = schemas.ModeReplace
	}
	if s.Scope == "" {
		s.Scope = defaultScope(s.Strategy, windowed, len(s.UniqueKey) > 0)
	}
	illegal := func(field, why, nearest string) {
		p.fault(max(p.lines[field], 1), field, why, "the nearest that goes: "+nearest)
	}
	switch {
	case s.Strategy == schemas.ModeAppend && s.Scope != ScopeRows:
		illegal("strategy", fmt.Sprintf("append does not go with scope %s: it only adds", s.Scope), "strategy append with scope rows, or replace with scope "+string(s.Scope))
	case s.Scope == ScopeRows && s.Strategy != schemas.ModeAppend:
		illegal("scope", fmt.Sprintf("rows does not go with strategy %s", s.Strategy), "strategy append with scope rows")
	case s.Strategy == schemas.ModeMerge && len(s.UniqueKey) == 0:
		illegal("strategy", "merge needs unique_key", "add unique_key, or strategy replace")
	case s.Strategy == schemas.ModeMerge && s.Scope == ScopeWindow:
		illegal("strategy", "merge over windows is not supported yet", "strategy replace with scope window")
	case s.Strategy == schemas.ModeMerge && s.Scope == ScopeTable:
		illegal("strategy", "merge over the table is not supported yet", "strategy replace with scope table")
	case s.Scope == ScopeWindow && !windowed:
		illegal("scope", "window needs a window", "add window: day, or scope table")
	case s.Scope != ScopeWindow && windowed:
		illegal("scope", fmt.Sprintf("%s does not go with a window", s.Scope), "scope window, or leave the window out")
	case s.Scope == ScopeKeys && len(s.UniqueKey) == 0:
		illegal("scope", "keys needs unique_key", "add unique_key, or scope table")
	case s.Scope == ScopeRows && len(s.UniqueKey) > 0:
		illegal("unique_key", "does not go with append, which only adds", "leave unique_key out, or strategy merge with scope keys")
	}
	if s.Complete && s.Scope != ScopeWindow {
		p.fault(p.lines["complete"], "complete", "needs windows", "leave it out, or use scope window")
	}
	p.mappings()
	p.contract()
}

func defaultScope(strategy schemas.Mode, windowed, keyed bool) Scope {
	switch {
	case windowed:
		return ScopeWindow
	case strategy == schemas.ModeAppend:
		return ScopeRows
	case strategy == schemas.ModeMerge && keyed:
		return ScopeKeys
	}
	return ScopeTable
}

// mappings checks that every input maps to what the scope owns.
func (p *parser) mappings() {
	s := p.spec
	for _, in := range s.Inputs {
		line := p.lines[in.Field]
		switch {
		case s.Scope == ScopeRows:
			p.fault(line, in.Field, "an append table is a log: no change of an input dirties it", "leave the input out")
		case len(in.Key) > 0 && s.Scope != ScopeKeys:
			p.fault(line, in.Field+".key", fmt.Sprintf("dirties keys, but the scope is %s", s.Scope), "use event_time or via, or scope keys")
		case s.Scope == ScopeKeys && len(in.Key) > 0 && len(in.Key) != s.KeyWidth():
			p.fault(line, in.Field+".key", "names another number of columns than the other inputs", "the keys that own are the same for all inputs")
		case len(in.Key) > len(s.UniqueKey) && s.Scope == ScopeKeys:
			p.fault(line, in.Field+".key", "has more columns than unique_key", "the keys that own are unique_key or a prefix of it")
		case in.EventTime != "" && s.Scope == ScopeKeys:
			p.fault(line, in.Field, "an event time dirties windows, but the scope is keys", "write {key: [column]} or via")
		case (in.Via != "" || in.Dirty != "") && s.Scope == ScopeTable:
			p.fault(line, in.Field, "the scope table has neither windows nor keys", "leave the input out: it needs no mapping")
		}
	}
}

// contract checks names that the spec itself can check.
func (p *parser) contract() {
	s := p.spec
	if len(s.Columns) == 0 {
		return
	}
	known := func(field string, columns ...string) {
		for _, c := range columns {
			if c != "" && !slices.ContainsFunc(s.Columns, func(o Column) bool { return o.Name == c }) {
				p.fault(p.spec.Line(field), field, fmt.Sprintf("the column %q is not in columns", c), "name one of columns, or add it there")
			}
		}
	}
	known("unique_key", s.UniqueKey...)
	known("partition_by", s.PartitionBy)
	known("cluster_by", s.ClusterBy...)
	if s.Window != nil {
		known("window.column", s.Window.Column)
	}
	for _, a := range s.Audits {
		known(a.Field, a.Columns...)
	}
}
