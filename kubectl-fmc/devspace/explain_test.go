package devspace

import (
	"slices"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func podTemplate(annotations map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Command: []string{"/app"}}}}}
}

// typed gives objects the kind that the dynamic client's fake needs.
func typed(kind, version string) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: kind, APIVersion: version}
}

func TestParseReference(t *testing.T) {
	for text, want := range map[string]string{
		"web-1": "pods web-1", "po/a": "pods a", "Deployment/a": "deployments a", "deploy/a": "deployments a", "statefulsets/a": "statefulsets a", "sts/a": "statefulsets a", "cj/a": "cronjobs a", "job/a": "jobs a", "ds/a": "daemonsets a",
		"deployment.apps/a": "deployments a", "deployments.v1.apps/a": "deployments a", "jobs.batch/a": "jobs a",
	} {
		resource, name, err := ParseReference(text)
		if err != nil || resource.Resource+" "+name != want {
			t.Errorf("%s is %s %s, %v", text, resource.Resource, name, err)
		}
	}
	for _, text := range []string{"", "service/a", "deploy/", "deploy/a/b", "/", "deployment.batch/a", "pods.apps/a", "service.apps/a", "deployment.v2.apps/a"} {
		if _, _, err := ParseReference(text); err == nil || !strings.Contains(err.Error(), "want POD or KIND/NAME") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestExplain(t *testing.T) {
	yes := true
	owned := func(name string, uid string, status string) *corev1.Pod {
		pod := asking("shop", name, metav1.OwnerReference{Kind: "ReplicaSet", Name: "web-1", UID: "11"}, true)
		if uid != "" {
			pod.OwnerReferences[0].UID = "12"
		}
		if status != "" {
			pod.Annotations[api.AnnotationStatus] = status
		}
		pod.TypeMeta = typed("Pod", "v1")
		return pod
	}
	objects := []runtime.Object{
		namespace("shop", map[string]string{api.LabelInject: api.InjectEnabled, "pod-security.kubernetes.io/enforce": "baseline"}),
		namespace("plain", nil), namespace(metav1.NamespaceSystem, nil),
		&appsv1.Deployment{TypeMeta: typed("Deployment", "apps/v1"), ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "plain", UID: "1"}, Spec: appsv1.DeploymentSpec{Template: podTemplate(map[string]string{api.AnnotationInject: "enabled"})}},
		&appsv1.Deployment{TypeMeta: typed("Deployment", "apps/v1"), ObjectMeta: metav1.ObjectMeta{Name: "quiet", Namespace: "plain", UID: "2"}, Spec: appsv1.DeploymentSpec{Template: podTemplate(nil)}},
		&appsv1.Deployment{TypeMeta: typed("Deployment", "apps/v1"), ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "3"}, Spec: appsv1.DeploymentSpec{Template: podTemplate(nil)}},
		&appsv1.ReplicaSet{TypeMeta: typed("ReplicaSet", "apps/v1"), ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "shop", UID: "11", OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: "web", UID: "3", Controller: &yes}}}},
		&batchv1.CronJob{TypeMeta: typed("CronJob", "batch/v1"), ObjectMeta: metav1.ObjectMeta{Name: "tick", Namespace: "plain"}, Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: podTemplate(map[string]string{api.AnnotationInject: "netta"})}}}},
		&appsv1.DaemonSet{TypeMeta: typed("DaemonSet", "apps/v1"), ObjectMeta: metav1.ObjectMeta{Name: "proxy", Namespace: metav1.NamespaceSystem}, Spec: appsv1.DaemonSetSpec{Template: podTemplate(map[string]string{api.AnnotationInject: "enabled"})}},
		owned("web-a", "", `{"version":"v1","service":"web","injected":["stinger"],"skipped":{"netra":"baseline"},"stingers":[{"container":"app","port":24000}]}`),
		owned("web-b", "", ""), owned("other", "12", ""),
	}
	in := install(t, objects...)
	for _, c := range []struct {
		namespace, reference string
		rule                 string
		would                []string
		sentences            []string
	}{
		{"plain", "deploy/web", RuleAnnotation, []string{"netra", "stinger"}, []string{
			"Deployment/web has the annotation formicarium.io/inject: enabled, which decides.", "A pod made now gets netra and stinger.", "There is no pod of it now.", "Trial: a pod for show in namespace plain was injected."}},
		{"plain", "deployment/quiet", RuleNone, nil, []string{"Deployment/quiet does not ask: it has no annotation formicarium.io/inject, and namespace plain has no label formicarium.io/inject=enabled."}},
		{"shop", "deploy/web", RuleNamespace, nil, []string{
			"Deployment/web has no annotation formicarium.io/inject; the label formicarium.io/inject=enabled of namespace shop decides.", "A pod made now gets nothing.",
			`No netra: pod security level "baseline" of namespace shop refuses netra-init's NET_ADMIN`, "Namespace shop enforces the pod security level baseline.",
			"Pod web-a has stinger, injected by version v1 as service web; Stinger supervises container app on port 24000.", "Pod web-a has no netra: baseline.", "Pod web-b is not injected."}},
		{"plain", "cj/tick", RuleAnnotation, nil, []string{"A pod made now gets nothing.", `formicarium.io/inject="netta": want enabled, netra, stinger, disabled (did you mean "netra"?)`}},
		{metav1.NamespaceSystem, "ds/proxy", RuleSystem, nil, []string{"Namespace kube-system is never touched."}},
		{"shop", "web-b", RuleAnnotation, nil, []string{"Pod/web-b has the annotation", "Pod web-b is not injected."}},
	} {
		e, err := in.Explain(t.Context(), c.namespace, c.reference)
		if err != nil {
			t.Fatalf("%s: %v", c.reference, err)
		}
		if e.Rule != c.rule || !slices.Equal(e.WouldInject, append([]string{}, c.would...)) {
			t.Errorf("%s: rule %s, would get %v", c.reference, e.Rule, e.WouldInject)
		}
		text := strings.Join(e.Sentences, "\n")
		for _, want := range c.sentences {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no sentence %q in\n%s", c.reference, want, text)
			}
		}
		if strings.Contains(text, "other") {
			t.Errorf("%s: another's pod is told of:\n%s", c.reference, text)
		}
	}
}

// A pod that was injected is explained as if it were made anew, and one that
// was not says how it comes to it.
func TestExplainPods(t *testing.T) {
	missing := asking("plain", "late", metav1.OwnerReference{Kind: "ReplicaSet", Name: "web", UID: "1"}, true)
	missing.TypeMeta = typed("Pod", "v1")
	in := install(t, namespace("plain", nil), missing)
	e, err := in.Explain(t.Context(), "plain", "late")
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(e.Sentences, "\n"); !strings.Contains(text, "Pod late asks for netra and has nothing") || !strings.Contains(text, "kubectl fmc check --repair") {
		t.Errorf("sentences:\n%s", text)
	}
	if _, err := in.Explain(t.Context(), "plain", "nobody"); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that is not there: %v", err)
	}
	in.refuse("get", "namespaces")
	in.refuse("get", "mutatingwebhookconfigurations")
	if e, err = in.Explain(t.Context(), "plain", "late"); err != nil {
		t.Fatal(err)
	}
	wants(t, e.Findings, LevelWarn, "the labels of namespace plain are not known")
	wants(t, e.Findings, LevelWarn, "you may not read mutatingwebhookconfiguration")
}
