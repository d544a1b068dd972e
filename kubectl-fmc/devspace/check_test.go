package devspace

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
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

// hubAnswers has the devspace's hub pod be served by what answers at an address.
func (in *cluster) hubAnswers(address string) {
	in.Connect = func(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
		if namespace != "mine" || pod != "tanajura-1" || port != api.HubPort {
			return nil, fmt.Errorf("pod %s/%s does not listen on port %d", namespace, pod, port)
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
}

func TestCheckOfIdentities(t *testing.T) {
	hub := identity.Identity{Kind: identity.Hub}
	for name, c := range map[string]struct {
		do    func(*cluster, *keeper)
		level Level
		part  string
	}{
		"all is well": {func(in *cluster, k *keeper) {
			in.hubAnswers(k.serve(t, hub, http.NotFoundHandler()).Listener.Addr().String())
		}, LevelOK, "identity: the hub of devspace mine has a certificate of the devspace's authority"},
		"another authority": {func(in *cluster, _ *keeper) {
			in.hubAnswers(newKeeper(t).serve(t, hub, http.NotFoundHandler()).Listener.Addr().String())
		}, LevelFail, "the hub of devspace mine has no certificate of the devspace's authority"},
		"an older devspace": {func(in *cluster, _ *keeper) {
			in.kube.CoreV1().ConfigMaps("mine").Delete(t.Context(), api.AuthorityName, metav1.DeleteOptions{})
		}, LevelFail, "devspace mine has no authority"},
		"nobody listens": {func(in *cluster, _ *keeper) { in.hubAnswers("127.0.0.1:1") }, LevelFail, "connection refused"},
		"no right to read": {func(in *cluster, _ *keeper) {
			in.kube.PrependReactor("get", "configmaps", func(action kubetesting.Action) (bool, runtime.Object, error) {
				return action.GetNamespace() == "mine", nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", nil)
			})
		}, LevelWarn, "identity: not looked at: you may not read the authority of devspace mine"},
		"no right to forward": {func(in *cluster, _ *keeper) {
			in.Connect = func(context.Context, string, string, int) (net.Conn, error) {
				return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods/portforward"}, "tanajura-1", nil)
			}
		}, LevelWarn, "identity: not looked at: you may not forward"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper(t)
			in := install(t, append(deployment(api.HubName, 1), mine(), hubPod())...)
			publish(t, in.Client, k.Certificate())
			c.do(in, k)
			f := wants(t, in.check(t, CheckConfig{}).Findings, c.level, c.part)
			if c.level == LevelFail && f.WayOut == "" {
				t.Errorf("there is no way out: %+v", f)
			}
		})
	}
}
