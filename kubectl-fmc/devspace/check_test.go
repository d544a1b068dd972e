package devspace

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/manifests"
	"github.com/formicarium/formicarium/webhook/certificate"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
)

// certificateLife is the one of the tests.
const certificateLife = 90 * 24 * time.Hour

// cluster is one with an installation of version v1.
type cluster struct {
	*Client
	kube *fake.Clientset
	cert certificate.Pair
}

func install(t *testing.T, objects ...runtime.Object) *cluster {
	t.Helper()
	cert, err := certificate.Make(api.WebhookNames(), certificateLife, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{api.LabelName: manifests.WebhookName}
	system := func(name string, ready int32, image string) *appsv1.Deployment {
		want := max(ready, 1)
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: api.SystemNamespace},
			Spec:       appsv1.DeploymentSpec{Replicas: &want, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: image}}}}},
			Status:     appsv1.DeploymentStatus{ReadyReplicas: ready},
		}
	}
	handlers, err := webhookHandlers()
	if err != nil {
		t.Fatal(err)
	}
	configuration := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: manifests.ConfigurationName}}
	for _, name := range handlers {
		configuration.Webhooks = append(configuration.Webhooks, admissionv1.MutatingWebhook{Name: name, ClientConfig: admissionv1.WebhookClientConfig{CABundle: cert.CA}})
	}
	objects = append(objects,
		configuration, system(manifests.WebhookName, 2, "r/webhook:t1"), system(manifests.JaegerName, 1, "jaeger"),
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: manifests.InstallationName, Namespace: api.SystemNamespace},
			Data:       map[string]string{"version": "v1", "registry": "r", "tag": "t1", "tracingEndpoint": JaegerEndpoint},
		},
		&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "webhook-1", Namespace: api.SystemNamespace, Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "webhook", Ports: []corev1.ContainerPort{{Name: "https", ContainerPort: 8443}}}}},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		},
		namespace(api.SystemNamespace, nil),
	)
	client := fakeClient(t, nil, objects...)
	kube, ok := client.Kube.(*fake.Clientset)
	if !ok {
		t.Fatal("the fake client is another")
	}
	in := &cluster{Client: client, kube: kube, cert: cert}
	in.serve(t, cert)
	// The API server asks the webhook, where it is told of one.
	kube.PrependReactor("create", "pods", func(action kubetesting.Action) (bool, runtime.Object, error) {
		create, ok := action.(kubetesting.CreateAction)
		if !ok || action.GetSubresource() != "" {
			return false, nil, nil
		}
		pod, ok := create.GetObject().(*corev1.Pod)
		if !ok || pod.GenerateName != "fmc-proof-" {
			return false, nil, nil
		}
		pod = pod.DeepCopy()
		if _, err := kube.Tracker().Get(admissionv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations"), "", manifests.ConfigurationName); err == nil {
			pod.Annotations[api.AnnotationStatus] = `{"version":"v1","injected":["netra"]}`
		}
		return true, pod, nil
	})
	return in
}

// serve has the webhook's pods serve a certificate.
func (in *cluster) serve(t *testing.T, cert certificate.Pair) {
	t.Helper()
	pair, err := tls.X509KeyPair(cert.Certificate, cert.Key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	in.Connect = func(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
		if namespace != api.SystemNamespace || port != 8443 {
			return nil, fmt.Errorf("pod %s/%s does not listen on port %d", namespace, pod, port)
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}
}

// refuse takes a right away.
func (in *cluster) refuse(verb, resource string) {
	in.kube.PrependReactor(verb, resource, func(action kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", nil)
	})
}

func (in *cluster) check(t *testing.T, cfg CheckConfig) CheckReport {
	t.Helper()
	if cfg.Version == "" {
		cfg.Version = "v1"
	}
	report, err := in.Check(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// wants fails the test where no finding is of that level and holds part.
func wants(t *testing.T, findings []Finding, level Level, part string) Finding {
	t.Helper()
	for _, f := range findings {
		if f.Level == level && strings.Contains(f.Check+": "+f.Text, part) {
			return f
		}
	}
	t.Errorf("no finding is %s and holds %q:\n%+v", level, part, findings)
	return Finding{}
}

// asking is a pod of an owner that asks for netra and has nothing.
func asking(namespace, name string, owner metav1.OwnerReference, ready bool) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	yes := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, UID: types.UID("uid-" + name), Annotations: map[string]string{api.AnnotationInject: api.InjectNetra}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
	}
	if owner.Kind != "" {
		owner.Controller = &yes
		pod.OwnerReferences = []metav1.OwnerReference{owner}
	}
	return pod
}

func TestCheckOfAWholeInstallation(t *testing.T) {
	pod := servicePod("orders", "orders-1", corev1.ConditionTrue)
	objects := append(deployment(api.HubName, 1), mine(), pod)
	report := install(t, objects...).check(t, CheckConfig{})
	for _, part := range []string{"version: plugin and installation are both", "webhook configuration: formicarium", "webhook: 2 of 2", "certificate: that of pod webhook-1 is trusted and ends in 89 days", "trial: a pod for show", "tracing: 1 of 1", "hub: 1 of 1", "pods: 1 injected pod"} {
		wants(t, report.Findings, LevelOK, part)
	}
	if Failed(report.Findings) || len(report.Missing) > 0 || !report.WebhookWorks {
		t.Errorf("report = %+v", report)
	}
	for _, f := range report.Findings {
		if f.Level != LevelOK {
			t.Errorf("%+v", f)
		}
	}
}

func TestCheckFindsWhatIsBroken(t *testing.T) {
	other, err := certificate.Make(api.WebhookNames(), certificateLife, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	old, err := certificate.Make(api.WebhookNames(), certificateLife, time.Now().Add(-certificateLife-24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	ending, err := certificate.Make(api.WebhookNames(), certificateLife, time.Now().Add(-certificateLife+5*24*time.Hour+time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		do    func(*cluster)
		level Level
		part  string
	}{
		"no configuration": {func(in *cluster) {
			in.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(t.Context(), manifests.ConfigurationName, metav1.DeleteOptions{})
		}, LevelFail, "there is none: pods that ask are admitted as they are"},
		"no configuration, tried": {func(in *cluster) {
			in.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(t.Context(), manifests.ConfigurationName, metav1.DeleteOptions{})
		}, LevelFail, "trial: a pod for show in namespace default, which asked for netra, was admitted without"},
		"not installed": {func(in *cluster) {
			in.kube.CoreV1().ConfigMaps(api.SystemNamespace).Delete(t.Context(), manifests.InstallationName, metav1.DeleteOptions{})
		}, LevelFail, "not installed"},
		"another's certificate": {func(in *cluster) { in.serve(t, other) }, LevelFail, "not trusted by the API server"},
		"an expired one":        {func(in *cluster) { in.serve(t, old) }, LevelFail, "expired on"},
		"one that ends soon": {func(in *cluster) {
			in.serve(t, ending)
			in.trust(t, ending.CA)
		}, LevelWarn, "is trusted and ends in 5 days"},
		"no bundle": {func(in *cluster) { in.trust(t, nil) }, LevelFail, "has no caBundle"},
		"a webhook is missing": {func(in *cluster) {
			in.change(t, func(m *admissionv1.MutatingWebhookConfiguration) { m.Webhooks = m.Webhooks[1:] })
		}, LevelFail, "has no webhook "},
		"no pod is ready": {func(in *cluster) { in.scale(t, manifests.WebhookName, 0) }, LevelFail, "none of 2 pods"},
		"one is":          {func(in *cluster) { in.scale(t, manifests.WebhookName, 1) }, LevelWarn, "1 of 2 pods"},
		"no Jaeger":       {func(in *cluster) { in.scale(t, manifests.JaegerName, 0) }, LevelFail, "tracing: none of 1"},
		"no answer": {func(in *cluster) {
			in.Connect = func(context.Context, string, string, int) (net.Conn, error) {
				return nil, fmt.Errorf("connection refused")
			}
		}, LevelFail, "asking pod webhook-1 for its certificate: connection refused"},
		"the webhook is not reached": {func(in *cluster) {
			in.kube.PrependReactor("create", "pods", func(kubetesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewInternalError(fmt.Errorf("failed calling webhook: no endpoints available"))
			})
		}, LevelFail, "no endpoints available"},
	} {
		t.Run(name, func(t *testing.T) {
			in := install(t)
			c.do(in)
			report := in.check(t, CheckConfig{})
			f := wants(t, report.Findings, c.level, c.part)
			if c.level == LevelFail && f.WayOut == "" {
				t.Errorf("there is no way out: %+v", f)
			}
		})
	}
}

func (in *cluster) change(t *testing.T, edit func(*admissionv1.MutatingWebhookConfiguration)) {
	t.Helper()
	all := in.kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	m, err := all.Get(t.Context(), manifests.ConfigurationName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	edit(m)
	if _, err := all.Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (in *cluster) trust(t *testing.T, bundle []byte) {
	t.Helper()
	in.change(t, func(m *admissionv1.MutatingWebhookConfiguration) {
		for i := range m.Webhooks {
			m.Webhooks[i].ClientConfig.CABundle = bundle
		}
	})
}

func (in *cluster) scale(t *testing.T, name string, ready int32) {
	t.Helper()
	all := in.kube.AppsV1().Deployments(api.SystemNamespace)
	d, err := all.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.Status.ReadyReplicas = ready
	if _, err := all.Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestCheckOfOtherVersions(t *testing.T) {
	in := install(t)
	wants(t, in.check(t, CheckConfig{Version: "v2"}).Findings, LevelWarn, "the plugin is version v2, and v1 is installed")
}

// What may not be read is no fault, and is said.
func TestCheckWithFewRights(t *testing.T) {
	in := install(t, namespace("shop", map[string]string{api.LabelInject: api.InjectEnabled}), asking("shop", "web-1", metav1.OwnerReference{Kind: "ReplicaSet", Name: "web", UID: "1"}, true))
	for _, resource := range []string{"mutatingwebhookconfigurations", "deployments", "namespaces"} {
		in.refuse("*", resource)
	}
	in.refuse("create", "pods")
	in.Connect = func(context.Context, string, string, int) (net.Conn, error) {
		return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods/portforward"}, "webhook-1", nil)
	}
	report := in.check(t, CheckConfig{Fallback: "shop"})
	for _, part := range []string{"webhook configuration: not looked at: you may not read", "webhook: not looked at", "certificate: not looked at: you may not forward", "trial: a pod for show in namespace default was not allowed", "namespaces: only namespace shop is looked into", "the labels of namespace shop are not known"} {
		wants(t, report.Findings, LevelWarn, part)
	}
	// What can be seen is judged all the same.
	wants(t, report.Findings, LevelFail, "missing: shop/web-1 asks for netra and has nothing")
	if len(report.Missing) != 1 || report.WebhookWorks {
		t.Errorf("report = %+v", report)
	}
	in.refuse("list", "pods")
	wants(t, in.check(t, CheckConfig{Fallback: "shop"}).Findings, LevelWarn, "pods: not looked at")
}

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
