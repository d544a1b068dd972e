//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/e2e/harness"
	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/webhook/certificate"
)

// webhookNamespace is a plain namespace, which no devspace has anything to do
// with.
const webhookNamespace = "fmc-e2e-webhook"

// TestWebhook shows that nobody who did not ask notices the webhook, and that
// nobody who did is lost: not while it is away, replaced, or changes its
// certificate.
func TestWebhook(t *testing.T) {
	h, err := harness.Open(t.Context(), harness.Options{Out: testWriter{t}, Home: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := &system{Harness: h}
	s.checkEmpty(t)
	t.Cleanup(func() { s.collect(t) })
	s.fmc(t, s.InstallArgs()...)
	t.Cleanup(func() {
		// The test's own context has ended.
		if _, err := s.FMC(context.Background(), "uninstall", "--yes"); err != nil {
			t.Error(err)
		}
		if out, err := s.Kubectl(context.Background(), "get", "priorityclasses,clusterroles,clusterrolebindings,mutatingwebhookconfigurations", "-l", api.LabelManagedBy+"="+api.FieldManager, "-o", "name"); err != nil || strings.TrimSpace(out) != "" {
			t.Errorf("after uninstall there are %q, %v", out, err)
		}
	})
	if _, err := s.Clients.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: webhookNamespace}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := s.Kubectl(context.Background(), "delete", "namespace", webhookNamespace, "--timeout=120s"); err != nil {
			t.Error(err)
		}
	})
	for _, stage := range []struct {
		name string
		test func(*testing.T, *system)
	}{
		{"PodsThatDidNotAskDoNotNotice", testPodsThatDidNotAsk},
		{"DeploymentWaitsForTheWebhook", testDeploymentWaits},
		{"OwnerIsToldWhatWasNotInjected", testOwnerIsTold},
		{"RolloutUnderLoad", testRolloutUnderLoad},
		{"RotationUnderLoad", testRotationUnderLoad},
		{"SecretDeletedUnderLoad", testSecretDeletedUnderLoad},
		{"ExpiredCertificateOnStart", testExpiredCertificate},
	} {
		t.Run(stage.name, func(t *testing.T) { stage.test(t, s) })
	}
}

// idlePod is scheduled nowhere, so that nothing is started.
func idlePod(inject string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "idle-", Namespace: webhookNamespace, Labels: map[string]string{"run": "idle"}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{api.Domain + "/no-such-node": "true"},
			Containers:   []corev1.Container{{Name: "main", Image: "idle", Command: []string{"/idle"}}},
		},
	}
	if inject != "" {
		pod.Annotations = map[string]string{api.AnnotationInject: inject}
	}
	return pod
}

func (s *system) scaleWebhook(t *testing.T, replicas int) {
	t.Helper()
	s.kubectl(t, "scale", "-n", api.SystemNamespace, "deployment/webhook", fmt.Sprintf("--replicas=%d", replicas))
	if replicas == 0 {
		s.kubectl(t, "wait", "-n", api.SystemNamespace, "--for=delete", "pod", "-l", api.LabelName+"=webhook", "--timeout=90s")
		return
	}
	s.rolledOut(t)
}

func (s *system) rolledOut(t *testing.T) {
	t.Helper()
	s.kubectl(t, "rollout", "status", "-n", api.SystemNamespace, "deployment/webhook", "--timeout=180s")
}

// testPodsThatDidNotAsk creates 500 pods with the webhook and 500 without.
func testPodsThatDidNotAsk(t *testing.T, s *system) {
	up := s.createIdle(t, 500)
	s.scaleWebhook(t, 0)
	defer s.scaleWebhook(t, 2)
	down := s.createIdle(t, 500)
	t.Logf("median time to create a pod that did not ask: %s with the webhook, %s without", up, down)
	// A call that meets nobody takes a connection's failure at the least, and a
	// time-out at the worst; the rest is the machine's noise.
	if down > 5*up+50*time.Millisecond {
		t.Errorf("without the webhook a pod that did not ask takes %s, with it %s", down, up)
	}
}

// createIdle creates pods one after the other, none of which may fail, removes
// them, and returns the median time that one took.
func (s *system) createIdle(t *testing.T, n int) time.Duration {
	t.Helper()
	pods := s.Clients.CoreV1().Pods(webhookNamespace)
	var times []time.Duration
	for i := range n {
		start := time.Now()
		if _, err := pods.Create(t.Context(), idlePod(""), metav1.CreateOptions{}); err != nil {
			t.Errorf("creating pod %d that did not ask: %v", i, err)
			continue
		}
		times = append(times, time.Since(start))
	}
	now := int64(0)
	if err := pods.DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: "run=idle"}); err != nil {
		t.Error(err)
	}
	if len(times) == 0 {
		t.Fatal("no pod was created")
	}
	slices.Sort(times)
	return times[len(times)/2]
}

func webhookDeployment(name, annotation string, replicas int, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q,"namespace":%q},"spec":{"replicas":%d,"selector":{"matchLabels":{"app":%[1]q}},`+
		`"template":{"metadata":{"labels":{"app":%[1]q},"annotations":{%[4]q:%[5]q}},"spec":{%[6]s"terminationGracePeriodSeconds":1,`+
		`"containers":[{"name":"main","image":"PYTHON","command":["python3","-m","http.server","8080"]}]}}}}`,
		name, webhookNamespace, replicas, api.AnnotationInject, annotation, spec)
}

// events waits for events on the ReplicaSets of a Deployment.
func (s *system) events(t *testing.T, deployment, reason string) []corev1.Event {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		list, err := s.Clients.CoreV1().Events(webhookNamespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=ReplicaSet,reason=" + reason})
		if err != nil {
			t.Fatal(err)
		}
		found := slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return !strings.HasPrefix(e.InvolvedObject.Name, deployment+"-") })
		if len(found) > 0 {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("no event %s on a ReplicaSet of %s after 60 s", reason, deployment)
		}
	}
}

// testDeploymentWaits takes the webhook away from a Deployment that asks.
func testDeploymentWaits(t *testing.T, s *system) {
	s.scaleWebhook(t, 0)
	s.apply(t, webhookDeployment("waits", api.InjectNetra, 1, ""))
	defer s.kubectl(t, "delete", "deployment", "-n", webhookNamespace, "waits")
	message := s.events(t, "waits", "FailedCreate")[0].Message
	t.Logf("event: %s", message)
	if !strings.Contains(message, "inject.formicarium.io") {
		t.Errorf("the event does not name the webhook: %s", message)
	}
	s.scaleWebhook(t, 2)
	// The ReplicaSet's controller waits twice as long after each failure.
	s.kubectl(t, "wait", "-n", webhookNamespace, "--for=condition=Available", "deployment/waits", "--timeout=180s")
	pods, err := s.Clients.CoreV1().Pods(webhookNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=waits"})
	if err != nil || len(pods.Items) == 0 || !hasNetra(&pods.Items[0]) {
		t.Errorf("%d pods, %v: want one with netra", len(pods.Items), err)
	}
}

// testOwnerIsTold has many pods of one ReplicaSet ask for what they do not get.
func testOwnerIsTold(t *testing.T, s *system) {
	s.apply(t, webhookDeployment("told", api.InjectNetra, 30, `"hostNetwork":true,"nodeSelector":{"formicarium.io/no-such-node":"true"},`))
	defer s.kubectl(t, "delete", "deployment", "-n", webhookNamespace, "told")
	s.events(t, "told", "InjectionSkipped")
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		pods, err := s.Clients.CoreV1().Pods(webhookNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=told"})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) == 30 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d pods after 60 s, want 30", len(pods.Items))
		}
	}
	found := s.events(t, "told", "InjectionSkipped")
	if e := found[0]; e.Type != corev1.EventTypeWarning || !strings.Contains(e.Message, "netra not injected: ") {
		t.Errorf("event = %s %s", e.Type, e.Message)
	}
	// One for each replica of the webhook, which share nothing.
	if len(found) > 2 {
		t.Errorf("%d events for 30 pods of one ReplicaSet", len(found))
	}
}

// stream creates pods that ask, for show (a server-side dry run), until it is
// ended.
type stream struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu              sync.Mutex
	asked, injected int
	faults          []error
}

func (s *system) stream(t *testing.T) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	load := &stream{cancel: cancel}
	for range 4 {
		load.running.Go(func() {
			for ctx.Err() == nil {
				pod, err := s.Clients.CoreV1().Pods(webhookNamespace).Create(t.Context(), idlePod(api.InjectNetra), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if err == nil && !hasNetra(pod) {
					err = errors.New("the pod was admitted without netra")
				}
				load.mu.Lock()
				load.asked++
				if err == nil {
					load.injected++
				} else if len(load.faults) < 10 {
					load.faults = append(load.faults, fmt.Errorf("at %s: %w", time.Now().Format(time.TimeOnly), err))
				}
				load.mu.Unlock()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return load
}

// end fails the test unless every pod was injected.
func (l *stream) end(t *testing.T) {
	t.Helper()
	l.cancel()
	l.running.Wait()
	t.Logf("%d pods asked, %d were injected", l.asked, l.injected)
	if l.asked == 0 || l.injected != l.asked {
		t.Errorf("%d of %d pods that asked were not injected: %v", l.asked-l.injected, l.asked, errors.Join(l.faults...))
	}
}

func testRolloutUnderLoad(t *testing.T, s *system) {
	load := s.stream(t)
	defer load.end(t)
	s.kubectl(t, "rollout", "restart", "-n", api.SystemNamespace, "deployment/webhook")
	s.rolledOut(t)
	s.kubectl(t, "wait", "-n", api.SystemNamespace, "--for=jsonpath={.status.replicas}=2", "deployment/webhook", "--timeout=120s")
	time.Sleep(10 * time.Second) // the last pods of before go on for a while
}

func (s *system) certificate(t *testing.T) *corev1.Secret {
	t.Helper()
	secret, err := s.Clients.CoreV1().Secrets(api.SystemNamespace).Get(t.Context(), api.WebhookCertificateName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// awaitAuthority waits until the Secret has another authority than old, and the
// API server trusts it; with alone, until it trusts old no more.
func (s *system) awaitAuthority(t *testing.T, old []byte, alone bool) {
	t.Helper()
	var last error
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there is no other authority in the Secret and in caBundle after 4 min: %v", last)
		}
		secret, err := s.Clients.CoreV1().Secrets(api.SystemNamespace).Get(t.Context(), api.WebhookCertificateName, metav1.GetOptions{})
		if last = err; err != nil {
			continue
		}
		config, err := s.Clients.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), api.WebhookConfigurationName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ca := bytes.TrimSpace(secret.Data["ca.crt"])
		done := len(ca) > 0 && !bytes.Equal(ca, bytes.TrimSpace(old))
		for _, w := range config.Webhooks {
			done = done && bytes.Contains(w.ClientConfig.CABundle, ca)
			done = done && !(alone && bytes.Contains(w.ClientConfig.CABundle, bytes.TrimSpace(old)))
		}
		if done {
			return
		}
	}
}

// testRotationUnderLoad gives certificates a life of two minutes, so that one
// is renewed after one.
func testRotationUnderLoad(t *testing.T, s *system) {
	old := s.certificate(t).Data["ca.crt"]
	load := s.stream(t)
	defer load.end(t)
	s.kubectl(t, "set", "env", "-n", api.SystemNamespace, "deployment/webhook", "WEBHOOK_CERTIFICATE_LIFE=2m")
	s.rolledOut(t)
	s.awaitAuthority(t, old, true)
	s.kubectl(t, "set", "env", "-n", api.SystemNamespace, "deployment/webhook", "WEBHOOK_CERTIFICATE_LIFE-")
	s.rolledOut(t)
}

func testSecretDeletedUnderLoad(t *testing.T, s *system) {
	old := s.certificate(t).Data["ca.crt"]
	load := s.stream(t)
	defer load.end(t)
	s.kubectl(t, "delete", "secret", "-n", api.SystemNamespace, api.WebhookCertificateName)
	s.awaitAuthority(t, old, false)
	time.Sleep(5 * time.Second)
}

// testExpiredCertificate starts the webhook with a certificate that has ended.
func testExpiredCertificate(t *testing.T, s *system) {
	s.scaleWebhook(t, 0)
	ended, err := certificate.Make(api.WebhookNames(), time.Hour, time.Now().Add(-48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	secret := s.certificate(t)
	secret.Data = map[string][]byte{"ca.crt": ended.CA, corev1.TLSCertKey: ended.Certificate, corev1.TLSPrivateKeyKey: ended.Key}
	if _, err := s.Clients.CoreV1().Secrets(api.SystemNamespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.scaleWebhook(t, 2)
	s.awaitAuthority(t, ended.CA, false)
	// The Service's endpoints follow the pods' readiness in a moment.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		pod, err := s.Clients.CoreV1().Pods(webhookNamespace).Create(t.Context(), idlePod(api.InjectNetra), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && hasNetra(pod) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("30 s after the webhook was ready a pod is not injected: %v", err)
		}
	}
	load := s.stream(t)
	time.Sleep(5 * time.Second)
	load.end(t)
}
