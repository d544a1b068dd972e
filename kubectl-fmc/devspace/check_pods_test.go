package devspace

import (
	"slices"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestCheckFindsPodsWithoutInjection(t *testing.T) {
	set := metav1.OwnerReference{Kind: "ReplicaSet", Name: "web", UID: "1"}
	hostNetwork := asking("shop", "agent", set, true)
	hostNetwork.Spec.HostNetwork = true
	disabled, typo, labelled := asking("opted", "off", set, true), asking("shop", "typo", set, true), asking("opted", "quiet", set, true)
	disabled.Annotations[api.AnnotationInject], typo.Annotations[api.AnnotationInject], labelled.Annotations = api.InjectDisabled, "netta", nil
	ended := asking("shop", "ended", set, false)
	ended.Status.Phase = corev1.PodSucceeded
	in := install(t, namespace("shop", nil), namespace("opted", map[string]string{api.LabelInject: api.InjectEnabled}),
		asking("shop", "web-1", set, true), asking("shop", "bare", metav1.OwnerReference{}, true), asking("shop", "once", metav1.OwnerReference{Kind: "Job", Name: "once", UID: "2"}, true),
		asking(metav1.NamespaceSystem, "dns", set, true), hostNetwork, disabled, typo, labelled, ended)
	report := in.check(t, CheckConfig{})
	var names []string
	for _, m := range report.Missing {
		names = append(names, m.String())
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "opted/quiet shop/bare shop/once shop/web-1" {
		t.Errorf("without injection are %q", got)
	}
	wants(t, report.Findings, LevelWarn, `shop/typo: formicarium.io/inject="netta": want`)
	for part, way := range map[string]string{"shop/web-1": "--repair has replicaset/web create it anew", "shop/bare": "delete and create it yourself", "shop/once": "it is a Job's"} {
		if f := wants(t, report.Findings, LevelFail, part); !strings.Contains(f.WayOut, way) {
			t.Errorf("the way out of %s is %q", part, f.WayOut)
		}
	}
	if report = in.check(t, CheckConfig{Namespace: "opted"}); len(report.Missing) != 1 {
		t.Errorf("in one namespace there are %+v", report.Missing)
	}
}

// The command of these pods is their image's, which the webhook finds out and the
// plugin does not.
func TestCheckFindsPodsThatWentWithoutStinger(t *testing.T) {
	set := metav1.OwnerReference{Kind: "ReplicaSet", Name: "web", UID: "1"}
	missed, lost, host := asking("shop", "missed", set, true), asking("shop", "lost", set, true), asking("shop", "host", set, true)
	for _, pod := range []*corev1.Pod{missed, lost, host} {
		pod.Annotations[api.AnnotationInject] = api.InjectStinger
		pod.Spec.Containers = []corev1.Container{{Name: "web", Image: "nginx"}}
	}
	lost.Annotations[api.AnnotationStatus] = `{"version":"v1","injected":[],"skipped":{"stinger":"no container's command is known"}}`
	host.Annotations[api.AnnotationInject], host.Spec.HostNetwork = api.InjectNetra, true
	host.Annotations[api.AnnotationStatus] = `{"version":"v1","injected":[],"skipped":{"netra":"the pod uses the node's network"}}`
	report := install(t, namespace("shop", nil), missed, lost, host).check(t, CheckConfig{})
	if len(report.Missing) != 1 || report.Missing[0].String() != "shop/missed" {
		t.Errorf("without injection are %+v", report.Missing)
	}
	wants(t, report.Findings, LevelWarn, "shop/lost was admitted without stinger (no container's command is known), which a new pod may get")
	for _, f := range report.Findings {
		if strings.Contains(f.Text, "shop/host") {
			t.Errorf("a lasting reason is a finding: %+v", f)
		}
	}
}

func TestCheckFindsCrashesByInjection(t *testing.T) {
	crash := func(name, container, message string, init bool) *corev1.Pod {
		pod := servicePod("orders", name, corev1.ConditionFalse)
		status := corev1.ContainerStatus{
			Name:                 container,
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error", Message: message}},
		}
		if init {
			pod.Status.InitContainerStatuses = []corev1.ContainerStatus{status}
		} else {
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
		}
		return pod
	}
	in := install(t, mine(), crash("orders-1", api.ContainerNetraInit, "no nf_tables", true), crash("orders-2", "orders", "exec: \"/fmc/bin/stinger\": exec format error", false), crash("orders-3", "orders", "panic", false))
	pulling := servicePod("orders", "orders-4", corev1.ConditionFalse)
	pulling.Status.InitContainerStatuses = []corev1.ContainerStatus{
		{Name: api.ContainerStingerInstall, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}}},
		{Name: api.ContainerNetra, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}},
	}
	if err := in.kube.Tracker().Add(pulling); err != nil {
		t.Fatal(err)
	}
	findings := in.check(t, CheckConfig{}).Findings
	f := wants(t, findings, LevelFail, "mine/orders-1 does not run because of what was injected: container netra-init waits: CrashLoopBackOff, it ended last with exit code 3, no nf_tables")
	if !strings.Contains(f.WayOut, "formicarium.io/inject: stinger, or disabled") || f.Detail == "" {
		t.Errorf("finding = %+v", f)
	}
	wants(t, findings, LevelFail, "mine/orders-2 does not run because of what was injected: container orders")
	wants(t, findings, LevelFail, "container stinger-install waits: ImagePullBackOff, not found")
	for _, f := range findings {
		if strings.Contains(f.Text, "orders-3") || strings.Contains(f.Text, "container netra waits") {
			t.Errorf("the application's own fault is told: %+v", f)
		}
	}
}
