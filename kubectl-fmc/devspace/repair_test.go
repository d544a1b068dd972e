package devspace

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubetesting "k8s.io/client-go/testing"
)

// evictions lets the fake API server evict: a controller puts another pod in
// the place.
func (in *cluster) evictions(t *testing.T, answer func(name string) error, ready bool) *[]string {
	t.Helper()
	var evicted []string
	in.kube.PrependReactor("create", "pods", func(action kubetesting.Action) (bool, runtime.Object, error) {
		create, ok := action.(kubetesting.CreateAction)
		if !ok || action.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		text, err := json.Marshal(create.GetObject())
		if err != nil {
			return true, nil, err
		}
		var eviction struct {
			Metadata      struct{ Name string }
			DeleteOptions metav1.DeleteOptions
		}
		if err := json.Unmarshal(text, &eviction); err != nil {
			return true, nil, err
		}
		name := eviction.Metadata.Name
		if err := answer(name); err != nil {
			return true, nil, err
		}
		pods := corev1.SchemeGroupVersion.WithResource("pods")
		object, err := in.kube.Tracker().Get(pods, action.GetNamespace(), name)
		if err != nil {
			return true, nil, err
		}
		pod, _ := object.(*corev1.Pod)
		if eviction.DeleteOptions.Preconditions == nil || *eviction.DeleteOptions.Preconditions.UID != pod.UID {
			t.Errorf("eviction of %s does not say which pod of that name: %s", name, text)
		}
		evicted = append(evicted, name)
		if err := in.kube.Tracker().Delete(pods, action.GetNamespace(), name); err != nil {
			return true, nil, err
		}
		next := asking(pod.Namespace, name+"-new", pod.OwnerReferences[0], ready)
		next.Annotations[api.AnnotationStatus] = `{"injected":["netra"]}`
		return true, nil, in.kube.Tracker().Add(next)
	})
	return &evicted
}

func TestRepair(t *testing.T) {
	set := metav1.OwnerReference{Kind: "ReplicaSet", Name: "web", UID: "1"}
	in := install(t, namespace("shop", nil), asking("shop", "web-1", set, true), asking("shop", "web-2", set, true), asking("shop", "bare", metav1.OwnerReference{}, true))
	evicted := in.evictions(t, func(string) error { return nil }, true)
	report := in.check(t, CheckConfig{})

	var out strings.Builder
	findings := in.Repair(t.Context(), report.Missing, RepairConfig{DryRun: true}, &out)
	wants(t, findings, LevelOK, "shop/web-1 would be evicted")
	if len(*evicted) > 0 {
		t.Fatalf("a dry run evicted %v", *evicted)
	}
	findings = in.Repair(t.Context(), report.Missing, RepairConfig{Every: time.Millisecond, Patience: 20 * time.Second}, &out)
	if got := strings.Join(*evicted, " "); got != "web-1 web-2" {
		t.Errorf("evicted are %q", got)
	}
	wants(t, findings, LevelOK, "shop/web-2 is evicted, and replicaset/web creates it anew")
	wants(t, findings, LevelFail, "shop/bare is left: nothing would create it anew")
	if !strings.Contains(out.String(), "shop/bare is left") {
		t.Errorf("told was %q", out.String())
	}
	if report = in.check(t, CheckConfig{}); len(report.Missing) != 1 {
		t.Errorf("after it there are %v", report.Missing)
	}
}

// Of an owner whose new pod does not become ready, no other pod is taken.
func TestRepairStopsWhereItDoesHarm(t *testing.T) {
	web, api := metav1.OwnerReference{Kind: "ReplicaSet", Name: "web", UID: "1"}, metav1.OwnerReference{Kind: "StatefulSet", Name: "api", UID: "2"}
	in := install(t, namespace("shop", nil), asking("shop", "web-1", web, true), asking("shop", "web-2", web, true), asking("shop", "web-3", web, true), asking("shop", "api-0", api, true))
	evicted := in.evictions(t, func(string) error { return nil }, false)
	findings := in.Repair(t.Context(), in.check(t, CheckConfig{}).Missing, RepairConfig{Every: time.Millisecond, Patience: 50 * time.Millisecond}, &strings.Builder{})
	slices.Sort(*evicted)
	if got := strings.Join(*evicted, " "); got != "api-0 web-1" {
		t.Errorf("evicted are %q", got)
	}
	wants(t, findings, LevelFail, "shop/web-2 is left: what came in place of the last pod of replicaset/web is not ready")
	wants(t, findings, LevelFail, "shop/web-3 is left")
}

func TestRepairIsRefused(t *testing.T) {
	set := metav1.OwnerReference{Kind: "ReplicaSet", Name: "web", UID: "1"}
	for part, refusal := range map[string]error{
		"a PodDisruptionBudget does not allow": apierrors.NewTooManyRequests("budget", 1),
		"you may not evict it":                 apierrors.NewForbidden(schema.GroupResource{Resource: "pods/eviction"}, "web-1", nil),
		"evicting shop/web-1: Internal error":  apierrors.NewInternalError(fmt.Errorf("etcd")),
	} {
		in := install(t, namespace("shop", nil), asking("shop", "web-1", set, true))
		in.evictions(t, func(string) error { return refusal }, true)
		findings := in.Repair(t.Context(), in.check(t, CheckConfig{}).Missing, RepairConfig{}, &strings.Builder{})
		wants(t, findings, LevelFail, part)
	}
	in := install(t, namespace("shop", nil), asking("shop", "web-1", set, true))
	in.evictions(t, func(string) error {
		return apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "web-1", fmt.Errorf("another uid"))
	}, true)
	wants(t, in.Repair(t.Context(), in.check(t, CheckConfig{}).Missing, RepairConfig{}, &strings.Builder{}), LevelOK, "is gone already")
	ended, cancel := context.WithCancel(t.Context())
	two := install(t, namespace("shop", nil), asking("shop", "web-1", set, true), asking("shop", "web-2", metav1.OwnerReference{Kind: "ReplicaSet", Name: "b", UID: "2"}, true))
	two.evictions(t, func(string) error { cancel(); return nil }, true)
	wants(t, two.Repair(ended, two.check(t, CheckConfig{}).Missing, RepairConfig{Every: time.Hour}, &strings.Builder{}), LevelFail, "stopped before shop/web-2")
}
