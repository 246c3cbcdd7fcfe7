package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/robfig/cron/v3"
	"go.yaml.in/yaml/v3"

	"millrace/deriver/window"
)

func (p *parser) window(n *yaml.Node) {
	w := &Window{Grid: window.Grid{Size: window.Day, Zone: time.UTC}}
	if p.spec.Window != nil { // begin came first
		w.Begin = p.spec.Window.Begin
	}
	p.spec.Window = w
	if n.Kind == yaml.ScalarNode {
		w.Grid.Size = p.size(n, "window")
		return
	}
	p.entries(n, "window", []string{"column", "size", "timezone", "begin"}, func(key string, _ int, v *yaml.Node) {
		switch field := join("window", key); key {
		case "column":
			w.Column = p.text(v, field)
		case "size":
			w.Grid.Size = p.size(v, field)
		case "timezone":
			w.Grid.Zone = p.zone(v, field)
		case "begin":
			p.begin(v, field)
		}
	})
	if n.Kind == yaml.MappingNode && p.lines["window.size"] == 0 {
		p.fault(n.Line, "window.size", "is missing", "write hour, day, week or month")
	}
	if w.Grid.Size == window.Hour && w.Grid.Zone != time.UTC {
		p.fault(p.lines["window.timezone"], "window.timezone", "hours are the hours of UTC", "leave the time zone out, or use a longer window")
	}
}

func (p *parser) size(n *yaml.Node, field string) window.Size {
	size := window.Size(p.text(n, field))
	if size != "" && !slices.Contains(window.Sizes[:], size) {
		p.fault(n.Line, field, fmt.Sprintf("%q is not a size", size), "write hour, day, week or month")
		return window.Day
	}
	return size
}

func (p *parser) zone(n *yaml.Node, field string) *time.Location {
	name := p.text(n, field)
	if name == "" || name == "UTC" {
		return time.UTC
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		p.fault(n.Line, field, fmt.Sprintf("%q is not a time zone", name), "write a name such as Europe/Berlin")
		return time.UTC
	}
	return loc
}

func (p *parser) begin(n *yaml.Node, field string) {
	if p.begins++; p.begins > 1 {
		p.fault(n.Line, field, "the begin is given twice", "keep window.begin")
		return
	}
	text := p.text(n, field)
	t, err := time.Parse(time.DateOnly, text)
	if err != nil && text != "" {
		p.fault(n.Line, field, fmt.Sprintf("%q is not a date", text), "write it as 2024-01-31")
	}
	if p.spec.Window == nil {
		p.spec.Window = &Window{}
	}
	p.spec.Window.Begin = t
}

func (p *parser) schedule(n *yaml.Node) {
	s := &p.spec.Schedule
	if n.Kind == yaml.ScalarNode {
		if text := p.text(n, "schedule"); text != "on_load" && text != "" {
			*s = Schedule{Cron: p.cron(n.Line, "schedule", text)}
		}
		return
	}
	s.OnLoad = false
	p.entries(n, "schedule", []string{"cron", "on_load"}, func(key string, _ int, v *yaml.Node) {
		switch field := join("schedule", key); key {
		case "cron":
			if text := p.text(v, field); text != "" {
				s.Cron = p.cron(v.Line, field, text)
			}
		case "on_load":
			s.OnLoad = p.boolean(v, field)
		}
	})
	if n.Kind == yaml.MappingNode && s.Cron == "" && !s.OnLoad && p.lines["schedule.cron"] == 0 {
		p.fault(n.Line, "schedule", "starts no run", "write on_load, a cron expression, or both")
	}
}

func (p *parser) cron(line int, field, text string) string {
	if _, err := cron.ParseStandard(text); err != nil || text[0] == '@' {
		p.fault(line, field, fmt.Sprintf("%q is neither on_load nor a cron expression", text), `write five fields, such as "0 6 * * *"; the zone is window.timezone`)
	}
	return text
}

func (p *parser) freshness(n *yaml.Node) {
	text := p.text(n, "freshness")
	d, ok := parseDuration(text)
	if !ok && text != "" {
		p.fault(n.Line, "freshness", fmt.Sprintf("%q is not a duration", text), "write it as 30s, 10m, 6h or 1d")
	}
	p.spec.Freshness = &d
}

var duration = regexp.MustCompile(`^(\d{1,6})(s|m|h|d|w)$`)

func parseDuration(text string) (time.Duration, bool) {
	if text == "0" {
		return 0, true
	}
	m := duration.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, _ := strconv.Atoi(m[1]) // six digits
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[m[2]]
	return time.Duration(n) * unit, time.Duration(n) <= 3650*24*time.Hour/unit
}

// maxLookback bounds what one touched row can dirty.
const maxLookback = 3660

func (p *parser) lookback(n *yaml.Node, field string) window.Lookback {
	text := p.text(n, field)
	if text == "all" {
		p.notYet(n.Line, field+": all")
		return window.Lookback{}
	}
	m := duration.FindStringSubmatch(text)
	if m != nil && m[2] != "s" && m[2] != "m" {
		n, _ := strconv.Atoi(m[1]) // six digits
		unit := map[string]window.Size{"h": window.Hour, "d": window.Day, "w": window.Week}[m[2]]
		if n >= 1 && n <= maxLookback {
			return window.Lookback{N: n, Unit: unit}
		}
	}
	if text != "" {
		p.fault(n.Line, field, fmt.Sprintf("%q is not a span", text), fmt.Sprintf("write it as 12h, 27d or 4w, at most %d", maxLookback))
	}
	return window.Lookback{}
}
