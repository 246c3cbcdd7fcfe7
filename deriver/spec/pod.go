package spec

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Pod is what a derived table asks of the pod that it has of its own under
// Kubernetes; an empty field is the chart's default.
type Pod struct {
	CPU          string            `json:",omitempty"` // such as 500m
	Memory       string            `json:",omitempty"` // such as 512Mi
	NodeSelector map[string]string `json:",omitempty"`
}

// Quantities as Kubernetes writes them. Without a unit memory is in bytes, and
// with an m in thousandths of one: both are slips here.
var (
	cpuQuantity    = regexp.MustCompile(`^([0-9]{1,6}m|[0-9]{1,4}(\.[0-9]{1,3})?)$`)
	memoryQuantity = regexp.MustCompile(`^[0-9]{1,6}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|M|G|T)$`)
	anyDigit       = regexp.MustCompile(`[1-9]`)
)

func (p *parser) pod(n *yaml.Node) {
	p.entries(n, "pod", nil, func(key string, line int, v *yaml.Node) {
		switch field := join("pod", key); key {
		case "cpu":
			p.spec.Pod.CPU = p.quantity(v, field, cpuQuantity, "write cores as 2 or 0.5, or thousandths of one as 500m")
		case "memory":
			p.spec.Pod.Memory = p.quantity(v, field, memoryQuantity, "write it as 512Mi or 2Gi")
		case "node_selector":
			p.spec.Pod.NodeSelector = make(map[string]string)
			p.entries(v, field, nil, func(label string, _ int, v *yaml.Node) {
				p.spec.Pod.NodeSelector[label] = p.label(v, join(field, label))
			})
		case "replicas":
			p.fault(line, field, "is not to be chosen: a derived table has one writer, and so one pod", "leave it out")
		default:
			p.fault(line, field, unknownField, nearest(key, []string{"cpu", "memory", "node_selector"}))
		}
	})
}

func (p *parser) quantity(n *yaml.Node, field string, form *regexp.Regexp, cure string) string {
	text := p.text(n, field)
	if strings.TrimSpace(text) == "" {
		return "" // which is a fault already
	}
	if !form.MatchString(text) || !anyDigit.MatchString(text) {
		p.fault(n.Line, field, fmt.Sprintf("%q is not a quantity", text), cure)
		return ""
	}
	return text
}

// label is the value of a node's label: always a text, where YAML may see
// something else.
func (p *parser) label(n *yaml.Node, field string) string {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!str" && n.Tag != "!!null" {
		p.fault(n.Line, field, fmt.Sprintf("%q is not a text in YAML", n.Value), "write it in quotes")
		return ""
	}
	return p.text(n, field)
}
