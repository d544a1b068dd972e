package devspace

import (
	"fmt"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/webhook/inject"
)

// sentences say the explanation to people: the rule, what comes of it, what
// the pods have, and what the webhook does.
func (e *Explanation) sentences() []string {
	list := append([]string{e.ruleText()}, e.outcomeTexts()...)
	if e.PodSecurity != "" && e.Rule != RuleNone && e.Rule != RuleSystem {
		list = append(list, fmt.Sprintf("Namespace %s enforces the pod security level %s.", e.Namespace, e.PodSecurity))
	}
	list = append(list, e.podTexts()...)
	for _, f := range e.Findings {
		text := capital(f.Check) + ": " + f.Text + "."
		if f.WayOut != "" && f.Level != LevelOK {
			text += " Way out: " + f.WayOut + "."
		}
		list = append(list, text)
	}
	return list
}

func (e *Explanation) ruleText() string {
	switch e.Rule {
	case RuleSystem:
		return fmt.Sprintf("Namespace %s is never touched.", e.Namespace)
	case RuleAnnotation:
		return fmt.Sprintf("%s has the annotation %s: %s, which decides.", capital(e.Object), api.AnnotationInject, e.Value)
	case RuleNamespace:
		return fmt.Sprintf("%s has no annotation %s; the label %s=%s of namespace %s decides.", capital(e.Object), api.AnnotationInject, api.LabelInject, e.Value, e.Namespace)
	}
	return fmt.Sprintf("%s does not ask: it has no annotation %s, and namespace %s has no label %s=%s.", capital(e.Object), api.AnnotationInject, e.Namespace, api.LabelInject, api.InjectEnabled)
}

func (e *Explanation) outcomeTexts() []string {
	var list []string
	switch {
	case len(e.WouldInject) > 0:
		list = append(list, fmt.Sprintf("A pod made now gets %s.", strings.Join(e.WouldInject, " and ")))
	case e.Rule == RuleAnnotation || e.Rule == RuleNamespace:
		list = append(list, "A pod made now gets nothing.")
	}
	said := map[string]bool{}
	for _, r := range e.Reasons {
		if r.Part != "" && r.Code != inject.CodeInjected && r.Code != inject.CodeAlready {
			list = append(list, fmt.Sprintf("No %s: %s.", r.Part, r.Text))
			said[fmt.Sprintf("%s was not injected: %s", r.Part, r.Text)] = true
		}
	}
	for _, w := range e.Warnings {
		if !said[w] {
			list = append(list, "Warning: "+w+".")
		}
	}
	return list
}

func (e *Explanation) podTexts() []string {
	var list []string
	for _, p := range e.Pods {
		name := "Pod " + p.Name
		switch {
		case p.Status != nil && len(p.Status.Injected) > 0:
			text := fmt.Sprintf("%s has %s, injected by version %s as service %s", name, strings.Join(p.Status.Injected, " and "), p.Status.Version, p.Status.Service)
			for _, s := range p.Status.Stingers {
				text += fmt.Sprintf("; Stinger supervises container %s on port %d", s.Container, s.Port)
			}
			list = append(list, text+".")
		case p.Status != nil:
			list = append(list, name+" was looked at by the webhook and has nothing.")
		case len(p.Missing) > 0:
			list = append(list, fmt.Sprintf("%s asks for %s and has nothing: it was created before the webhook or the label was there. kubectl fmc check --repair has it created anew.", name, strings.Join(p.Missing, " and ")))
		default:
			list = append(list, name+" is not injected.")
		}
		if p.Status != nil {
			for _, part := range sorted(p.Status.Skipped) {
				list = append(list, fmt.Sprintf("%s has no %s: %s.", name, part, p.Status.Skipped[part]))
			}
		}
	}
	if len(list) == 0 {
		list = append(list, "There is no pod of it now.")
	}
	return list
}

func capital(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
