package definition

import (
	"slices"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/handover"
	"github.com/formicarium/formicarium/internal/reload"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
)

// Annotations that carry the rules of what a change does, and the ports that
// Stinger listens on, to Stinger.
const (
	annotationReload = api.Domain + "/stinger-reload"
	annotationListen = api.Domain + "/stinger-listen"
)

// reloadRules decodes the rules of what a change does. Their faults are told
// where they are.
func (d *decoder) reloadRules(n *yaml.Node, path string) []reload.Rule {
	var rules []reload.Rule
	patterns, faults := 0, len(d.faults)
	d.items(n, path, func(n *yaml.Node, path string) {
		rule := reload.Rule{}
		known := fields{
			"paths":  func(n *yaml.Node, path string) { rule.Paths = d.oneOrMore(n, path) },
			"do":     func(n *yaml.Node, path string) { rule.Do = d.text(n, path) },
			"signal": func(n *yaml.Node, path string) { rule.Signal = d.text(n, path) },
		}
		nodes, before := known.record(), len(d.faults)
		d.mapping(n, path, known)
		rules = append(rules, rule)
		patterns += len(rule.Paths)
		if len(d.faults) > before {
			return // what is read is not what was meant
		}
		for _, f := range reload.Check(rule) {
			at := nodes[f.Field]
			if at == nil {
				at = n
			}
			if f.Index >= 0 && at.Kind == yaml.SequenceNode {
				at = resolve(at.Content[f.Index])
			}
			d.fault(at, join(path, f.Field), "%s", f.Text)
		}
	})
	if len(d.faults) == faults && len(rules) > 0 {
		if _, err := reload.New(rules); err != nil { // all of them together
			d.fault(n, path, "%v", err)
		} else if _, err := reload.Text(rules); err != nil {
			d.fault(n, path, "%v", err)
		}
	}
	return rules
}

// oneOrMore decodes a list of strings, or one alone.
func (d *decoder) oneOrMore(n *yaml.Node, path string) []string {
	if resolve(n).Kind == yaml.ScalarNode {
		return []string{d.text(n, path)}
	}
	return d.texts(n, path)
}

// checkReload reports what of reload and handover has no effect.
func (d *decoder) checkReload(nodes map[string]*yaml.Node, path string, s *Service) {
	for _, key := range []string{"reload", "reloadScript", "handover"} {
		if nodes[key] != nil && s.Path == "" {
			d.fault(nodes[key], join(path, key), "needs path: without a synced directory nothing is done about a change")
		}
	}
	ask := func(r reload.Rule) bool { // or is a fault already, and may have been meant to
		return r.Do == reload.InPlace || !slices.Contains(reload.Actions, r.Do)
	}
	chambered := s.Chamber != "" || nodes["image"] == nil // whose rules may ask for it, too
	if s.Scripts["reload"] != "" && s.Path != "" && !chambered && !slices.ContainsFunc(s.Reload, ask) {
		d.fault(nodes["reloadScript"], join(path, "reloadScript"), "has no effect: no rule of reload says do: %s", reload.InPlace)
	}
	if s.Handover && s.Path != "" && len(s.sockets()) == 0 {
		d.fault(nodes["handover"], join(path, "handover"), "needs ports: a tcp one at least, which the process is given as a socket")
	}
}

// sockets returns what Stinger listens on for the process.
func (s *Service) sockets() []handover.Socket {
	var sockets []handover.Socket
	taken := map[int32]bool{}
	for _, p := range s.Ports {
		if p.Protocol == corev1.ProtocolTCP && !taken[p.Target] {
			taken[p.Target] = true
			sockets = append(sockets, handover.Socket{Name: p.Name, Port: int(p.Target)})
		}
	}
	return sockets
}

// addReload adds the annotations that say what a change does.
func (s *Service) addReload(annotations map[string]string) {
	if len(s.Reload) > 0 {
		text, err := reload.Text(s.Reload)
		if err == nil { // it was checked
			annotations[annotationReload] = text
		}
	}
	if s.Handover {
		annotations[annotationListen] = handover.Text(s.sockets())
	}
}
