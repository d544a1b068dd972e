package inject

import (
	"fmt"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// ask is what a pod asks for, by itself or through its namespace.
type ask struct{ netra, stinger bool }

// protected are the namespaces that are never touched, by name or, with a final
// *, by prefix: a fault in what is injected must not be able to take down what
// the cluster, or injection itself, needs. Kubernetes keeps the prefix kube- for
// itself; the others hold the parts of distributions, networks and admission
// that run with privileges on behalf of everybody.
var protected = []string{
	"kube-*", api.SystemNamespace,
	"openshift-*", "calico-system", "calico-apiserver", "tigera-operator",
	"istio-system", "linkerd", "linkerd-cni", "gatekeeper-system",
}

// Protected returns the names of the namespaces that are never touched, and the
// prefixes of the names of others.
func Protected() (names, prefixes []string) {
	for _, name := range protected {
		if prefix, many := strings.CutSuffix(name, "*"); many {
			prefixes = append(prefixes, prefix)
		} else {
			names = append(names, name)
		}
	}
	return names, prefixes
}

// IsProtected reports whether the namespace is never touched.
func IsProtected(namespace string) bool {
	return slices.ContainsFunc(protected, func(name string) bool {
		prefix, many := strings.CutSuffix(name, "*")
		return name == namespace || many && strings.HasPrefix(namespace, prefix)
	})
}

// injectValues are the values of the annotation, in the order in which they
// are told to people.
var injectValues = []string{api.InjectEnabled, api.InjectNetra, api.InjectStinger, api.InjectDisabled}

// ask reads annotation and label, and notes why a part is not asked for.
func (in *injection) ask() ask {
	value, annotated := in.pod.Annotations[api.AnnotationInject]
	switch {
	case IsProtected(in.ns.Name):
		return in.nothing(CodeSystemNamespace, fmt.Sprintf("namespace %s is never touched", short(in.ns.Name)))
	case !annotated && in.ns.Inject == api.InjectEnabled:
		return ask{netra: true}
	case !annotated:
		if in.ns.Inject != "" && in.ns.Inject != api.InjectDisabled {
			in.warn("label %s=%q of namespace %s: want %s or %s; nothing was injected",
				api.LabelInject, short(in.ns.Inject), in.ns.Name, api.InjectEnabled, api.InjectDisabled)
		}
		return in.nothing(CodeNotAsked, "neither the pod's annotation nor the namespace's label asks for it")
	}
	switch value {
	case api.InjectEnabled:
		return ask{netra: true, stinger: true}
	case api.InjectNetra:
		return ask{netra: true}
	case api.InjectStinger:
		return ask{stinger: true}
	case api.InjectDisabled:
		return in.nothing(CodeDisabled, "the pod's annotation says so")
	}
	text := fmt.Sprintf("%s=%q: want %s%s", api.AnnotationInject, short(value), strings.Join(injectValues, ", "), suggest(meant(value), injectValues))
	in.warn("%s; nothing was injected", text)
	return in.nothing(CodeBadValue, text)
}

func (in *injection) nothing(code, text string) ask {
	for _, part := range []string{PartNetra, PartStinger} {
		in.result.Reasons = append(in.result.Reasons, Reason{Part: part, Code: code, Text: text})
	}
	return ask{}
}

// meant translates the words for yes and no that other systems' annotations
// have; no edit of theirs leads to ours.
func meant(value string) string {
	switch strings.ToLower(value) {
	case "true", "yes", "on", "y", "1", "all", "both":
		return api.InjectEnabled
	case "false", "no", "off", "n", "0", "none", "skip":
		return api.InjectDisabled
	}
	return value
}

// suggest returns " (did you mean …?)" with the nearest of names, or nothing
// where none is near.
func suggest(value string, names []string) string {
	best, distance := "", len(value)/3+1
	for _, name := range names {
		if d := edits(strings.ToLower(value), name); d < distance {
			best, distance = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// edits returns how many characters have to be added, removed or replaced to
// make b of a. Long values are not worth the time: nothing of ours is as long.
func edits(a, b string) int {
	if len(a) > 80 || len(b) > 80 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
