package devspace

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/webhook/inject"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// MissingPod is one that asks for injection and has none: it was admitted
// while the API server knew of no webhook, or before its namespace opted in.
type MissingPod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Parts are what it would get today.
	Parts []string `json:"parts"`
	// Owner is what would make it anew, as kind/name, "" where nothing would.
	Owner string `json:"owner,omitempty"`

	uid, owner types.UID
}

func (m MissingPod) String() string { return m.Namespace + "/" + m.Name }

// CheckMissing names the findings that are about MissingPods: what Repair puts
// right.
const CheckMissing = "missing"

// maxLogs bounds how many logs are read: of many crashing pods a few say what
// is wrong.
const maxLogs = 5

// checkPods looks at all pods for some that asked and have nothing, and for
// some that do not run because of what they have.
func (c *Client) checkPods(ctx context.Context, s scope) ([]Finding, []MissingPod, error) {
	var findings []Finding
	var missing []MissingPod
	injected, logs := 0, 0
	unseen, err := c.eachPod(ctx, s, func(pod *corev1.Pod) {
		if status := injectionStatus(pod); status != nil {
			if len(status.Injected) > 0 {
				injected++
			}
			for _, f := range injectionFaults(pod, status) {
				if logs++; logs <= maxLogs && f.container != "" {
					f.Detail = c.lastLog(ctx, pod, f.container, true)
				}
				findings = append(findings, f.Finding)
			}
			if f, ok := lost(pod, status, s); ok {
				findings = append(findings, f)
			}
			return
		}
		result := wouldInject(pod, s.namespaces[pod.Namespace])
		name := pod.Namespace + "/" + pod.Name
		switch m := missingPod(pod, result); {
		case len(m.Parts) > 0:
			missing = append(missing, m)
			findings = append(findings, bad(CheckMissing, wayRepair(m), "%s asks for %s and has nothing%s", name, strings.Join(m.Parts, " and "), whyMissing(pod)))
		case len(result.Reasons) > 0 && result.Reasons[0].Code == inject.CodeBadValue:
			findings = append(findings, doubtful("pods", "correct the annotation on its template", "%s: %s", name, result.Reasons[0].Text))
		}
	})
	findings = append(findings, unseen...)
	if err == nil && !Failed(findings) {
		findings = append(findings, good("pods", "%s, and none that asked lacks it", count(injected, "injected pod")))
	}
	return findings, missing, err
}

// lost says what a pod went without for a reason that has passed, such as a
// registry that did not answer. A repair leaves it alone: it may not pass again.
func lost(pod *corev1.Pod, status *api.InjectionStatus, s scope) (Finding, bool) {
	if len(status.Skipped) == 0 {
		return Finding{}, false
	}
	for _, part := range wouldInject(pod, s.namespaces[pod.Namespace]).Injected() {
		if why, skipped := status.Skipped[part]; skipped {
			return doubtful("pods", "name the command of its containers in its template, or delete the pod to have it tried again",
				"%s/%s was admitted without %s (%s), which a new pod may get", pod.Namespace, pod.Name, part, why), true
		}
	}
	return Finding{}, false
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// injectionStatus returns what the webhook wrote on the pod, or nil.
func injectionStatus(pod *corev1.Pod) *api.InjectionStatus {
	text := pod.Annotations[api.AnnotationStatus]
	var status api.InjectionStatus
	if text == "" || json.Unmarshal([]byte(text), &status) != nil {
		return nil
	}
	return &status
}

// wouldInject returns what the webhook would do if the pod were created now.
// Nearly all pods of a cluster did not ask, so these are not looked at closely.
func wouldInject(pod *corev1.Pod, labels map[string]string) inject.Result {
	ns := inject.NamespaceFrom(pod.Namespace, labels)
	if _, asks := pod.Annotations[api.AnnotationInject]; !asks && ns.Inject == "" {
		return inject.Result{}
	}
	text, err := json.Marshal(pod)
	if err != nil {
		return inject.Result{}
	}
	result, err := inject.Inject(text, ns, inject.Preview)
	if err != nil {
		return inject.Result{}
	}
	return result
}

func missingPod(pod *corev1.Pod, result inject.Result) MissingPod {
	m := MissingPod{Namespace: pod.Namespace, Name: pod.Name, Parts: result.Injected(), uid: pod.UID}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		m.Owner, m.owner = strings.ToLower(owner.Kind)+"/"+owner.Name, owner.UID
	}
	return m
}

// kept says why a pod is not to be evicted, or "".
func (m MissingPod) kept() string {
	kind, _, _ := strings.Cut(m.Owner, "/")
	switch kind {
	case "":
		return "nothing would create it anew: delete and create it yourself"
	case "node":
		return "the node's kubelet keeps it, from a file"
	case "job":
		return "it is a Job's, whose work would be lost: let it end, or delete it yourself"
	}
	return ""
}

func wayRepair(m MissingPod) string {
	if why := m.kept(); why != "" {
		return why
	}
	return "kubectl fmc check --repair has " + m.Owner + " create it anew"
}

func whyMissing(pod *corev1.Pod) string {
	if _, annotated := pod.Annotations[api.AnnotationInject]; annotated {
		return ": it was created while there was no webhook"
	}
	return ": it was created while there was no webhook, or before its namespace was labelled"
}

// fault is a Finding with the container whose log says more.
type fault struct {
	Finding
	container string
}

// ownContainers are those that the webhook adds.
var ownContainers = []string{api.ContainerNetraInit, api.ContainerNetra, api.ContainerStingerInstall}

// injectionFaults returns what keeps an injected pod from running that would
// not be without injection.
func injectionFaults(pod *corev1.Pod, status *api.InjectionStatus) []fault {
	if len(status.Injected) == 0 || podReady(pod) {
		return nil
	}
	var faults []fault
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		own := slices.Contains(ownContainers, s.Name)
		text := containerFault(s)
		if text == "" || !own && !failsByStinger(s, status) {
			continue
		}
		f := fault{Finding: bad("crash", wayAround(s.Name), "%s/%s does not run because of what was injected: container %s %s", pod.Namespace, pod.Name, s.Name, text)}
		if s.LastTerminationState.Terminated != nil {
			f.container = s.Name
		}
		faults = append(faults, f)
	}
	return faults
}

// containerFault says in what way a container fails, or "".
func containerFault(s corev1.ContainerStatus) string {
	last := s.LastTerminationState.Terminated
	if now := s.State.Terminated; now != nil && now.ExitCode != 0 {
		last = now
	}
	var parts []string
	switch w := s.State.Waiting; {
	case w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing":
		parts = append(parts, "waits: "+w.Reason)
		if w.Message != "" && last == nil {
			parts = append(parts, w.Message)
		}
	case s.State.Terminated == nil || s.State.Terminated.ExitCode == 0:
		return ""
	}
	if last != nil {
		parts = append(parts, "it ended last with "+exitText(last))
		if last.Reason != "" && last.Reason != "Error" {
			parts = append(parts, last.Reason)
		}
		if message := strings.TrimSpace(last.Message); message != "" {
			parts = append(parts, message)
		}
	}
	return strings.Join(parts, ", ")
}

// failsByStinger reports whether a supervised container could not even start
// Stinger; once that runs, what ends is the application.
func failsByStinger(s corev1.ContainerStatus, status *api.InjectionStatus) bool {
	if !slices.ContainsFunc(status.Stingers, func(e api.StingerEndpoint) bool { return e.Container == s.Name }) {
		return false
	}
	for _, t := range []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated} {
		if t != nil && strings.Contains(t.Message, "/fmc/bin") {
			return true
		}
	}
	return s.State.Waiting != nil && strings.Contains(s.State.Waiting.Message, "/fmc/bin")
}

func wayAround(container string) string {
	without := api.InjectStinger
	if container != api.ContainerNetraInit && container != api.ContainerNetra {
		without = api.InjectNetra
	}
	return fmt.Sprintf("annotate the template with %s: %s, or %s, to run it without", api.AnnotationInject, without, api.InjectDisabled)
}
