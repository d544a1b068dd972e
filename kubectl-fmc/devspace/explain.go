package devspace

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/kubectl-fmc/workload"
	"github.com/formicarium/formicarium/webhook/inject"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// The rules by which a pod is injected, or not.
const (
	RuleSystem     = "system-namespace"
	RuleAnnotation = "annotation"
	RuleNamespace  = "namespace-label"
	RuleNone       = "none"
)

// Explanation says what becomes of the pods of one object, and why.
type Explanation struct {
	// Object is the pod or workload, as kind/name.
	Object    string `json:"object"`
	Namespace string `json:"namespace"`
	// Rule says what decided, and Value what that says.
	Rule  string `json:"rule"`
	Value string `json:"value,omitempty"`
	// WouldInject are the parts that a pod made now would get; Reasons say why
	// the others are left out.
	WouldInject []string        `json:"wouldInject"`
	Reasons     []inject.Reason `json:"reasons,omitempty"`
	Warnings    []string        `json:"warnings,omitempty"`
	// PodSecurity is the level that the namespace enforces.
	PodSecurity string `json:"podSecurity,omitempty"`
	// Pods are the object's, or the object itself.
	Pods []ExplainedPod `json:"pods"`
	// Findings are about the webhook, and about pods that do not run.
	Findings []Finding `json:"findings,omitempty"`
	// Sentences say all of it.
	Sentences []string `json:"sentences"`
}

// ExplainedPod is what one pod has.
type ExplainedPod struct {
	Name string `json:"name"`
	// Status is what the webhook wrote on it, nil where it did not.
	Status *api.InjectionStatus `json:"status,omitempty"`
	// Missing are the parts that it would have, were it created now.
	Missing []string `json:"missing,omitempty"`
}

// explained are the kinds that can be named, by what kubectl calls them.
var explained = map[string]schema.GroupVersionResource{
	"pod": core("pods"), "po": core("pods"),
	"replicationcontroller": core("replicationcontrollers"), "rc": core("replicationcontrollers"),
	"deployment": grouped("apps", "deployments"), "deploy": grouped("apps", "deployments"),
	"statefulset": grouped("apps", "statefulsets"), "sts": grouped("apps", "statefulsets"),
	"daemonset": grouped("apps", "daemonsets"), "ds": grouped("apps", "daemonsets"),
	"replicaset": grouped("apps", "replicasets"), "rs": grouped("apps", "replicasets"),
	"job":     grouped("batch", "jobs"),
	"cronjob": grouped("batch", "cronjobs"), "cj": grouped("batch", "cronjobs"),
}

// ParseReference reads POD or KIND/NAME. The kind may carry its group, and its
// version before that, as kubectl takes them: deployments.apps, jobs.v1.batch.
func ParseReference(text string) (schema.GroupVersionResource, string, error) {
	kind, name, found := strings.Cut(text, "/")
	if !found {
		kind, name = "pod", text
	}
	kind, group, qualified := strings.Cut(strings.ToLower(kind), ".")
	resource, ok := explained[kind]
	if !ok {
		resource, ok = explained[strings.TrimSuffix(kind, "s")]
	}
	if qualified {
		ok = ok && strings.TrimPrefix(group, resource.Version+".") == resource.Group
	}
	if !ok || name == "" || strings.Contains(name, "/") {
		return resource, "", fmt.Errorf("%q names no workload: want POD or KIND/NAME, where KIND is one of %s; of other kinds name a pod", text, strings.Join(sorted(explained), ", "))
	}
	return resource, name, nil
}

// Explain looks at a pod or a workload in a namespace.
func (c *Client) Explain(ctx context.Context, namespace, reference string) (Explanation, error) {
	resource, name, err := ParseReference(reference)
	if err != nil {
		return Explanation{}, err
	}
	object, err := c.Dynamic.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Explanation{}, fmt.Errorf("reading %s in namespace %s: %w", reference, namespace, err)
	}
	templates := workload.Templates(object.Object)
	if len(templates) != 1 {
		return Explanation{}, fmt.Errorf("reading %s in namespace %s: it has no pod template", reference, namespace)
	}
	labels, findings, err := c.namespaceLabels(ctx, namespace)
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{Object: templates[0].Object(), Namespace: namespace, Findings: findings, Pods: []ExplainedPod{}}
	ns := inject.NamespaceFrom(namespace, labels)
	if err := e.decide(templates[0], ns); err != nil {
		return e, err
	}
	pods, err := c.podsOf(ctx, object)
	switch {
	case apierrors.IsForbidden(err):
		e.Findings = append(e.Findings, unread("pods", "the pods of namespace "+namespace, err))
	case err != nil:
		return e, err
	}
	for i := range pods {
		e.look(&pods[i], labels)
	}
	if e.Rule == RuleAnnotation || e.Rule == RuleNamespace {
		found, _ := c.checkConfiguration(ctx)
		e.Findings = append(append(e.Findings, found...), c.checkTrial(ctx, namespace))
	}
	e.Sentences = e.sentences()
	return e, nil
}

// decide asks the library what it would do.
func (e *Explanation) decide(t workload.Template, ns inject.NamespaceInfo) error {
	text, err := withoutInjection(t)
	if err != nil {
		return err
	}
	result, err := inject.Inject(text, ns, inject.Preview)
	if err != nil {
		return err
	}
	e.WouldInject, e.Reasons, e.Warnings = result.Injected(), result.Reasons, result.Warnings
	if e.WouldInject == nil {
		e.WouldInject = []string{}
	}
	e.PodSecurity = ns.EnforceLevel
	metadata, _ := t.Pod["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	value, annotated := annotations[api.AnnotationInject].(string)
	refused := len(result.Reasons) > 0 && result.Reasons[0].Code == inject.CodeSystemNamespace
	switch {
	case refused:
		e.Rule = RuleSystem
	case annotated:
		e.Rule, e.Value = RuleAnnotation, value
	case ns.Inject == api.InjectEnabled:
		e.Rule, e.Value = RuleNamespace, ns.Inject
	default:
		e.Rule = RuleNone
	}
	return nil
}

// withoutInjection returns the template's pod as it was sent: what was injected
// already is in the way of saying what would be.
func withoutInjection(t workload.Template) ([]byte, error) {
	text, err := t.PodJSON()
	if err != nil {
		return nil, err
	}
	undone, err := workload.UninjectPod(text)
	if err != nil {
		return text, nil // an older version's: it says that it is injected
	}
	return undone, nil
}

// look adds what one pod has.
func (e *Explanation) look(pod *corev1.Pod, labels map[string]string) {
	p := ExplainedPod{Name: pod.Name, Status: injectionStatus(pod)}
	if p.Status == nil {
		p.Missing = wouldInject(pod, labels).Injected()
	} else {
		for _, f := range injectionFaults(pod, p.Status) {
			e.Findings = append(e.Findings, f.Finding)
		}
	}
	e.Pods = append(e.Pods, p)
}

// podsOf returns the living pods of an object: itself, or those that it or
// something of its controls.
func (c *Client) podsOf(ctx context.Context, object *unstructured.Unstructured) ([]corev1.Pod, error) {
	if object.GetKind() == "Pod" {
		var pod corev1.Pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &pod); err != nil {
			return nil, fmt.Errorf("decoding pod %s: %w", object.GetName(), err)
		}
		return []corev1.Pod{pod}, nil
	}
	owners := []types.UID{object.GetUID()}
	between := map[string]schema.GroupVersionResource{"Deployment": grouped("apps", "replicasets"), "CronJob": grouped("batch", "jobs")}
	if resource, ok := between[object.GetKind()]; ok {
		list, err := c.Dynamic.Resource(resource).Namespace(object.GetNamespace()).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", resource.Resource, err)
		}
		for _, item := range list.Items {
			if owner := metav1.GetControllerOf(&item); owner != nil && owner.UID == object.GetUID() {
				owners = append(owners, item.GetUID())
			}
		}
	}
	list, err := c.Kube.CoreV1().Pods(object.GetNamespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	return slices.DeleteFunc(living(list.Items), func(pod corev1.Pod) bool {
		owner := metav1.GetControllerOf(&pod)
		return owner == nil || !slices.Contains(owners, owner.UID)
	}), nil
}
