package devspace

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"context"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
)

// pods answer in place of those of a cluster, by "pod/port".
type pods map[string]http.HandlerFunc

// fakeClient is a Client of a cluster with the given objects. Its pods are
// loopback servers, those of devspace mine guarded by a keeper.
func fakeClient(t *testing.T, answers pods, objects ...runtime.Object) *Client {
	t.Helper()
	client, _ := lockedClient(t, answers, objects...)
	return client
}

// lockedClient is fakeClient, with the keeper.
func lockedClient(t *testing.T, answers pods, objects ...runtime.Object) (*Client, *keeper) {
	t.Helper()
	k := newKeeper(t)
	addresses := map[string]string{"tanajura-1/3002": k.serve(t, identity.Identity{Kind: identity.Hub}, http.NotFoundHandler()).Listener.Addr().String()}
	for name, handler := range answers {
		pod, port, _ := strings.Cut(name, "/")
		var server *httptest.Server
		switch {
		case port == strconv.Itoa(api.HubPort):
			server = k.serve(t, identity.Identity{Kind: identity.Hub}, handler)
		case port == strconv.Itoa(api.StingerPort):
			server = k.serve(t, identity.Identity{Kind: identity.Pod, Name: pod, UID: podUID(pod)}, handler)
		default:
			server = httptest.NewServer(handler)
			t.Cleanup(server.Close)
		}
		addresses[name] = server.Listener.Addr().String()
	}
	kube := fake.NewClientset(append([]runtime.Object{k.published()}, objects...)...)
	k.giveTokens(kube)
	return &Client{
		Kube:    kube,
		Dynamic: dynamicfake.NewSimpleDynamicClient(scheme.Scheme, objects...),
		Poll:    time.Millisecond,
		Settle:  time.Millisecond,

		FollowEvery: 5 * time.Millisecond,
		Answer:      20 * time.Second,
		Dial: func(_ string, target Target, secure Secure) PodTransport {
			dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
				pod, port, err := target(ctx)
				if err != nil {
					return nil, err
				}
				address, ok := addresses[fmt.Sprintf("%s/%d", pod, port)]
				if !ok {
					return nil, fmt.Errorf("pod %s does not listen on port %d", pod, port)
				}
				return (&net.Dialer{}).DialContext(ctx, "tcp", address)
			}
			return &loopback{&http.Transport{DialContext: dial, DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return secure(ctx, conn)
			}}}
		},
	}, k
}

// podUID is that of a service's pod.
func podUID(name string) string { return "uid-" + name }

type loopback struct{ *http.Transport }

func (l *loopback) Close() error {
	l.CloseIdleConnections()
	return nil
}

// answer answers with a body of JSON.
func answer(body any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(body) }
}

func namespace(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func mine() *corev1.Namespace {
	return namespace("mine", map[string]string{api.LabelManagedBy: api.FieldManager, api.LabelDevspace: "mine"})
}

// servicePod is a pod of a service as the webhook leaves it.
func servicePod(service, name string, ready corev1.ConditionStatus) *corev1.Pod {
	status, _ := json.Marshal(api.InjectionStatus{
		Version: "v1", Service: service, Injected: []string{api.InjectNetra, api.InjectStinger},
		Stingers: []api.StingerEndpoint{{Container: service, Port: api.StingerPort}},
	})
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "mine", UID: types.UID(podUID(name)),
			Labels:      map[string]string{api.LabelService: service, api.LabelManagedBy: api.FieldManager, appsv1.DefaultDeploymentUniqueLabelKey: "1"},
			Annotations: map[string]string{api.AnnotationInject: api.InjectEnabled, api.AnnotationStatus: string(status)},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: service}}},
		Status: corev1.PodStatus{
			Phase:             corev1.PodRunning,
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: service, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
		},
	}
}

// deployment is a service's with its one replica set.
func deployment(service string, ready int32) []runtime.Object {
	labels := map[string]string{api.LabelManagedBy: api.FieldManager, api.LabelService: service}
	one := int32(1)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: service, Namespace: "mine", UID: "1", Labels: labels},
		Spec:       appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{api.LabelService: service}}},
		Status:     appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: ready, ReadyReplicas: ready},
	}
	controller := true
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Name: service + "-1", Namespace: "mine",
		Labels:          map[string]string{api.LabelService: service, appsv1.DefaultDeploymentUniqueLabelKey: "1"},
		OwnerReferences: []metav1.OwnerReference{{UID: "1", Controller: &controller, Kind: "Deployment", Name: service, APIVersion: "apps/v1"}},
	}}
	return []runtime.Object{d, set}
}

func hubPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "tanajura-1", Namespace: "mine", Labels: map[string]string{api.LabelName: api.HubName, api.LabelManagedBy: api.FieldManager}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}
