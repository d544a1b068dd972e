package devspace

import (
	"strings"
	"testing"

	"github.com/formicarium/formicarium/kubectl-fmc/chamber"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func chamberMap(name, label string, data map[string]string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "mine"}, Data: data}
	if label != "" {
		m.Labels = map[string]string{chamber.Label: label}
	}
	return m
}

// A chamber of one's own is found by its ConfigMap's name and by its label.
func TestOwnChamber(t *testing.T) {
	good := map[string]string{"image": "elixir:1.18", "start": "mix run"}
	binary := chamberMap("binary", "", good)
	binary.BinaryData = map[string][]byte{"build": {0xff}}
	client := fakeClient(t, nil, binary,
		chamberMap("plain", "", good), chamberMap("labelled", "elixir", good),
		chamberMap("bad", "", map[string]string{"image": "x"}),
		chamberMap("one", "twice", good), chamberMap("two", "twice", good),
	)
	for _, name := range []string{"configmap/plain", "configmap/labelled", "elixir"} {
		c, err := client.Chamber(t.Context(), "mine", name)
		if err != nil || c.Name != name || c.Image != "elixir:1.18" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for name, parts := range map[string][]string{
		"configmap/none":   {"devspace mine has no ConfigMap none", "create configmap none"},
		"configmap/bad":    {"key start: missing"},
		"configmap/binary": {"binary data"},
		"cobol":            {`no chamber "cobol"`, "python", "elixir", "formicarium.io/chamber=cobol"},
		"twice":            {"configmap/one and configmap/two"},
	} {
		_, err := client.Chamber(t.Context(), "mine", name)
		wantError(t, name, err, parts...)
	}
}

// claimOf is a service's claim, with a pod that waits for it.
func claimOf(phase corev1.PersistentVolumeClaimPhase) (*corev1.PersistentVolumeClaim, *corev1.Pod) {
	pod := servicePod("orders", "orders-1", corev1.ConditionFalse)
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "pod has unbound immediate PersistentVolumeClaims",
	}}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "orders-cache"},
	}}}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "orders-cache", Namespace: "mine", UID: "7"},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: phase},
	}
	return claim, pod
}

func claimEvent(uid, reason, message string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "e" + uid + reason, Namespace: "mine"},
		InvolvedObject: corev1.ObjectReference{Kind: kindClaim, Name: "orders-cache", UID: "7"},
		Reason:         reason, Message: message,
	}
}

// A deploy whose cache finds no volume says so.
func TestRolloutTellsOfAClaimThatCannotBind(t *testing.T) {
	claim, pod := claimOf(corev1.ClaimPending)
	event := claimEvent("7", "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	client := fakeClient(t, nil, append(deployment("orders", 0), pod, claim, event)...)
	out, err := waitFor(t, client)
	wantError(t, "wait", err, "volume claim orders-cache finds no volume: no persistent volumes available", "cache.storageClass")
	if !strings.Contains(out, "orders: volume claim orders-cache finds no volume") {
		t.Errorf("printed %q", out)
	}
}

func TestClaimProblems(t *testing.T) {
	for name, c := range map[string]struct {
		phase corev1.PersistentVolumeClaimPhase
		event *corev1.Event
		want  string
	}{
		"bound":       {corev1.ClaimBound, nil, ""},
		"lost":        {corev1.ClaimLost, nil, "volume claim orders-cache has lost its volume: delete it with kubectl -n mine delete pvc orders-cache"},
		"new":         {corev1.ClaimPending, nil, "volume claim orders-cache waits for a volume"},
		"being made":  {corev1.ClaimPending, claimEvent("7", "ExternalProvisioning", "waiting"), "volume claim orders-cache waits for a volume"},
		"no quota":    {corev1.ClaimPending, claimEvent("7", "ProvisioningFailed", "quota exceeded"), "volume claim orders-cache finds no volume: quota exceeded"},
		"before this": {corev1.ClaimPending, nil, "volume claim orders-cache waits for a volume"},
	} {
		claim, pod := claimOf(c.phase)
		client := fakeClient(t, nil, claim)
		if c.event != nil {
			client = fakeClient(t, nil, claim, c.event)
		}
		if name == "before this" { // of an earlier claim of that name
			old := claimEvent("6", "FailedBinding", "none")
			old.InvolvedObject.UID = "6"
			client = fakeClient(t, nil, claim, old)
		}
		got := ""
		for _, p := range client.claimProblems(t.Context(), pod) {
			got += p.text
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
