package spec

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

var inputFields = []string{"event_time", "lookback", "via", "on", "key", "dirty", "on_change", "offset"}

func (p *parser) inputs(n *yaml.Node) {
	p.entries(n, "inputs", nil, func(table string, line int, v *yaml.Node) {
		field := join("inputs", table)
		dataset, name, ok := strings.Cut(table, ".")
		if !ok || !identifier.MatchString(dataset) || !identifier.MatchString(name) {
			p.fault(line, field, "is not the name of a table", "write dataset.table")
			return
		}
		if v.Kind != yaml.SequenceNode {
			p.input(table, field, v)
			return
		}
		if len(v.Content) == 0 {
			p.fault(v.Line, field, "is an empty list", "say how its changes map to this table, or leave it out")
		}
		for i, item := range v.Content {
			p.input(table, fmt.Sprintf("%s[%d]", field, i), resolve(item))
		}
	})
}

func (p *parser) input(table, field string, n *yaml.Node) {
	in := Input{Table: table, Field: field}
	p.lines[field] = n.Line
	if n.Kind == yaml.ScalarNode {
		in.EventTime = p.text(n, field)
		p.spec.Inputs = append(p.spec.Inputs, in)
		return
	}
	before := len(p.faults)
	p.entries(n, field, inputFields, func(key string, line int, v *yaml.Node) {
		switch at := join(field, key); key {
		case "event_time":
			in.EventTime = p.text(v, at)
		case "lookback":
			in.Lookback = p.lookback(v, at)
		case "via":
			in.Via = p.text(v, at)
			if parts := strings.Split(in.Via, "."); in.Via != "" && len(parts) != 3 {
				p.fault(v.Line, at, fmt.Sprintf("%q is not dataset.table.column", in.Via), "name the column of another input that this one joins")
			}
		case "on":
			in.On = p.text(v, at)
		case "key":
			in.Key = p.names(v, at)
		case "dirty":
			in.Dirty = p.text(v, at)
		case "on_change":
			switch p.oneOf(v, at, "rebuild", "ignore") {
			case "rebuild":
				in.Rebuild = true
			case "ignore":
				p.notYet(line, at+": ignore")
			}
		case "offset":
			p.fault(line, at, "a table that reads its own past is not supported yet", "leave it out")
		}
	})
	p.consistent(in, n, len(p.faults) > before)
	p.spec.Inputs = append(p.spec.Inputs, in)
}

// consistent checks that an entry says one thing.
func (p *parser) consistent(in Input, n *yaml.Node, faulty bool) {
	ways := 0
	for _, given := range []bool{in.EventTime != "", in.Via != "", len(in.Key) > 0, in.Dirty != "", in.Rebuild} {
		if given {
			ways++
		}
	}
	switch {
	case !in.Lookback.IsZero() && ways > 0 && in.EventTime == "":
		p.fault(n.Line, in.Field+".lookback", "needs event_time", "name the column whose span is read")
	case in.On != "" && in.Via == "" && !faulty:
		p.fault(n.Line, in.Field+".on", "needs via", "say which column of another input it equals")
	case ways > 1:
		p.fault(n.Line, in.Field, "maps its changes in several ways at once", "make a list with one entry for each")
	case ways == 0 && in.Lookback.IsZero() && !faulty:
		p.fault(n.Line, in.Field, "does not say what a change dirties", "write event_time, via, key, dirty or on_change: rebuild")
	}
}
