// Package inject decides what is added to a pod that asks for netra or Stinger
// and says it as a JSON patch.
//
//	result, err := inject.Inject(podJSON, inject.NamespaceInfo{Name: "mine"}, settings)
//	// result.Patch, result.Warnings, result.Reasons
//
// Inject is pure: the same pod, namespace and settings give the same result
// every time, and injecting into its own result changes nothing. The patch is
// made for the pod as it was sent, so fields that this package knows nothing of
// are neither lost nor moved.
//
// The webhook uses it on admission. It knows no HTTP and no cluster, so that it can
// be used on files, too.
package inject

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"github.com/formicarium/formicarium/internal/api"
)

// Settings are what the installation gives, the same for all pods. Nothing in
// them can be changed by a pod's annotations but where the documentation of an
// annotation says so.
type Settings struct {
	// Version goes into each pod's status annotation.
	Version string
	// NetraImage, NetraInitImage and StingerImage are image references.
	NetraImage, NetraInitImage, StingerImage string
	// NetraInitIPTablesImage is netra-init with the iptables programs beside it.
	NetraInitIPTablesImage string
	// RedirectBackend is netra-init's NETRA_REDIRECT_BACKEND where the pod does
	// not say it; empty is auto.
	RedirectBackend string
	PullPolicy      corev1.PullPolicy
	// JaegerEndpoint is where netra sends spans; empty sends them nowhere but
	// where the pod's own annotations say.
	JaegerEndpoint string
	// HubURL is the hub's base URL as pods see it, without a final slash.
	HubURL string
	// NativeSidecar makes netra an init container that keeps running
	// (Kubernetes 1.29 and later), else it is an ordinary container.
	NativeSidecar bool
	// NetraResources are those of the sidecar; InitResources those of the two
	// init containers, which end before the pod's own containers start.
	NetraResources, InitResources corev1.ResourceRequirements
	// assumeCommands takes the command of an image that is not in Images as one
	// that the webhook would know. See Preview.
	assumeCommands bool
	// Images holds what was found out about the images that NeedsImages names.
	// It is the one field that differs between pods.
	Images map[string]ImageCommand
}

// Preview are the settings of somebody who asks what the webhook would do: it
// finds out what images run by themselves, so that is taken as known.
var Preview = Settings{NativeSidecar: true, assumeCommands: true}

// NamespaceInfo is what the pod's namespace has to say.
type NamespaceInfo struct {
	Name string
	// Inject is the value of the label formicarium.io/inject.
	Inject string
	// EnforceLevel is the value of the label pod-security.kubernetes.io/enforce.
	EnforceLevel string
}

// Labels that a NamespaceInfo is read from.
const labelEnforce = "pod-security.kubernetes.io/enforce"

// NamespaceFrom returns the info that a namespace's labels hold.
func NamespaceFrom(name string, labels map[string]string) NamespaceInfo {
	return NamespaceInfo{Name: name, Inject: labels[api.LabelInject], EnforceLevel: labels[labelEnforce]}
}

// Result is what was decided.
type Result struct {
	// Patch is empty where nothing is to be changed.
	Patch []Operation `json:"patch"`
	// Warnings are for the user who created the pod, a line each.
	Warnings []string `json:"warnings,omitempty"`
	// Reasons say, for each part that is asked for or not, why it was not
	// added, or that it was.
	Reasons []Reason `json:"reasons"`
	// Status is what the pod's status annotation says after the patch.
	Status api.InjectionStatus `json:"status,omitzero"`
	// Meta is the pod's metadata as it was sent.
	Meta metav1.ObjectMeta `json:"-"`
}

// Injected returns the parts that the patched pod has: "netra", "stinger".
func (r Result) Injected() []string { return r.Status.Injected }

// Parts that can be injected.
const (
	PartNetra   = "netra"
	PartStinger = "stinger"
)

// Reason says what became of one part. Code is from a fixed set, for counting;
// Text is for people.
type Reason struct {
	Part string `json:"part"`
	Code string `json:"code"`
	Text string `json:"text,omitempty"`
}

// The codes of a Reason.
const (
	CodeInjected        = "injected"
	CodeAlready         = "already-injected"
	CodeNotAsked        = "not-asked"
	CodeDisabled        = "disabled"
	CodeBadValue        = "bad-value"
	CodeSystemNamespace = "system-namespace"
	CodeWindows         = "windows"
	CodeHostNetwork     = "host-network"
	CodePodSecurity     = "pod-security"
	CodeUserID          = "user-id"
	CodePortTaken       = "port-taken"
	CodeNameTaken       = "name-taken"
	CodeNoContainer     = "no-container"
	CodeCommandUnknown  = "command-unknown"
	CodeOtherMesh       = "other-mesh"
)

// injection is one pod's way through Inject.
type injection struct {
	pod      *corev1.Pod
	doc      *document
	ns       NamespaceInfo
	settings Settings
	// previous is what an earlier injection wrote, zero where there was none.
	previous api.InjectionStatus
	// original is the pod as it was sent.
	original any
	service  string
	values   variables
	// netraAsked says that the pod asks for netra, whatever becomes of that.
	netraAsked bool
	slips      int // annotations left out
	result     Result
}

// Inject returns what is to be changed in the pod. An error means that podJSON
// is not a pod.
func Inject(podJSON []byte, ns NamespaceInfo, s Settings) (Result, error) {
	doc, err := parse(podJSON)
	if err != nil {
		return Result{}, fmt.Errorf("decoding the pod: %w", err)
	}
	var pod corev1.Pod
	if err := kjson.Unmarshal(podJSON, &pod); err != nil {
		return Result{}, fmt.Errorf("decoding the pod: %w", err)
	}
	in := &injection{pod: &pod, doc: doc, ns: ns, settings: s, result: Result{Patch: []Operation{}, Meta: pod.ObjectMeta}}
	in.run()
	if in.doc.err != nil {
		return Result{}, fmt.Errorf("patching the pod: %w", in.doc.err)
	}
	in.result.Patch = append(in.result.Patch, in.doc.operations...)
	in.result.Warnings = bounded(in.result.Warnings)
	return in.result, nil
}

func (in *injection) run() {
	ask := in.ask()
	if !ask.netra && !ask.stinger {
		return
	}
	in.readPrevious()
	in.original = clone(in.doc.root)
	in.service = in.serviceName()
	if label := in.pod.Labels[api.LabelService]; label != "" && label != in.service {
		in.warn("label %s=%q is not the service's name %q: the hub finds pods by the label", api.LabelService, short(label), in.service)
	}
	in.settle()
	in.netraAsked = ask.netra
	status := api.InjectionStatus{Version: in.settings.Version, Service: in.service, Injected: []string{}, Skipped: map[string]string{}}
	if ask.netra {
		in.part(&status, PartNetra, in.addNetra)
		status.Probes = in.rewriteProbes(status)
	}
	if ask.stinger {
		in.part(&status, PartStinger, func() Reason {
			var reason Reason
			status.Stingers, reason = in.addStinger()
			return reason
		})
	}
	in.result.Status = status
	if len(status.Injected) > 0 && in.pod.Labels[api.LabelService] == "" {
		in.doc.put(in.service, "metadata", "labels", api.LabelService)
	}
	in.writeStatus(status)
}

// readPrevious reads what an earlier injection said of itself.
func (in *injection) readPrevious() {
	if text := in.pod.Annotations[api.AnnotationStatus]; text != "" {
		// One that does not parse was not written by us and says nothing.
		if json.Unmarshal([]byte(text), &in.previous) != nil {
			in.previous = api.InjectionStatus{}
		}
	}
}

// part adds one part and notes what became of it.
func (in *injection) part(status *api.InjectionStatus, name string, add func() Reason) {
	var reason Reason
	if in.windows() {
		reason = Reason{Code: CodeWindows, Text: "the pod is for Windows nodes, where Formicarium does not run"}
	} else {
		reason = add()
	}
	reason.Part = name
	in.result.Reasons = append(in.result.Reasons, reason)
	if reason.Code == CodeInjected || reason.Code == CodeAlready {
		status.Injected = append(status.Injected, name)
		return
	}
	status.Skipped[name] = reason.Text
	in.warn("%s was not injected: %s", name, reason.Text)
}

// writeStatus writes the status annotation, unless the one that is there says
// the same already. The version of an earlier injection stays where nothing
// else changed: it says who injected what is there.
func (in *injection) writeStatus(status api.InjectionStatus) {
	if len(status.Skipped) == 0 {
		status.Skipped = nil
	}
	same := status
	same.Version, same.Undo = in.previous.Version, in.previous.Undo
	if len(in.doc.operations) == 0 && reflect.DeepEqual(same, in.previous) {
		in.result.Status = same
		return
	}
	status.Undo = in.undo()
	in.result.Status = status
	text, err := json.Marshal(status)
	if err != nil {
		in.doc.fail(err)
		return
	}
	in.doc.put(string(text), "metadata", "annotations", api.AnnotationStatus)
}

func (in *injection) windows() bool {
	return in.pod.Spec.OS != nil && in.pod.Spec.OS.Name == corev1.Windows ||
		in.pod.Spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows) ||
		in.windowsByAffinity()
}

// windowsByAffinity reports whether all nodes that the pod may go to are of
// Windows: of several terms one is enough.
func (in *injection) windowsByAffinity() bool {
	a := in.pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return false
	}
	terms := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	return len(terms) > 0 && !slices.ContainsFunc(terms, func(t corev1.NodeSelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool {
			return r.Key == corev1.LabelOSStable && r.Operator == corev1.NodeSelectorOpIn &&
				len(r.Values) == 1 && r.Values[0] == string(corev1.Windows)
		})
	})
}

// wasInjected reports whether an earlier injection says that it added part.
func (in *injection) wasInjected(part string) bool {
	return slices.Contains(in.previous.Injected, part)
}

// containerNamed returns the place of the container among containers, or -1.
func containerNamed(containers []corev1.Container, name string) int {
	return slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == name })
}
