package devspace

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"
)

// The whole way to the hub: TLS over the streams of a port-forward, with a token.
func TestHubOverThePortForward(t *testing.T) {
	client, k := lockedClient(t, nil, hubPod())
	hubServer := k.serve(t, identity.Identity{Kind: identity.Hub}, answer(api.RepositoryList{Repositories: []api.Repository{{Name: "orders"}}}))
	server := newPortForwardServer(t, hubServer.Listener.Addr().String())
	client.Dial = forwardPods(&rest.Config{Host: server.URL})
	hub := client.Hub("mine")
	defer hub.Close()
	for range 3 {
		if found, err := hub.Repositories(t.Context()); err != nil || len(found) != 1 {
			t.Fatalf("repositories = %v, %v", found, err)
		}
	}
	if n := k.tokens.Load(); n != 1 || len(server.asked()) != 1 {
		t.Errorf("%d tokens and %d connections for three questions, want one of each", n, len(server.asked()))
	}
	hubServer.CloseClientConnections()
	server.cut()
	eventually(t, "the hub answers again after a cut", func() bool {
		_, err := hub.Repositories(t.Context())
		return err == nil
	})
}

// What the hub does not take any more is not sent twice.
func TestTokenThatWasCalledBack(t *testing.T) {
	client, k := lockedClient(t, pods{"tanajura-1/3002": answer(api.RepositoryList{})}, hubPod())
	hub := client.Hub("mine")
	defer hub.Close()
	if _, err := hub.Repositories(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.tokens.Add(1) // the token of before is not the good one now
	_, err := hub.Repositories(t.Context())
	wantError(t, "with a token that was called back", err, "401", "not good")
	if err != nil && strings.Contains(err.Error(), "token-t") {
		t.Errorf("the error shows the token: %v", err)
	}
	if _, err := hub.Repositories(t.Context()); err != nil {
		t.Errorf("the request after it = %v, want one with a new token", err)
	}
}

// TestTokenEndsInSleep: a token ends by the wall clock. The other, which a time has
// beside it, stands still while a laptop sleeps.
func TestTokenEndsInSleep(t *testing.T) {
	client, _ := lockedClient(t, pods{"tanajura-1/3002": answer(api.RepositoryList{})}, hubPod())
	hub := client.Hub("mine")
	defer hub.Close()
	if _, err := hub.Repositories(t.Context()); err != nil {
		t.Fatal(err)
	}
	token := client.developer("mine").token.have
	for _, at := range []time.Time{token.renew, token.ends} {
		if text := at.String(); strings.Contains(text, " m=") {
			t.Errorf("the token's time is by the clock that stands still: %s", text)
		}
	}
}

func TestTokensGoOverHTTPSOnly(t *testing.T) {
	client, k := lockedClient(t, nil, hubPod())
	hub := client.Hub("mine")
	defer hub.Close()
	_, err := request(t.Context(), hub.client, http.MethodGet, "http://tanajura/api/repositories", nil)
	wantError(t, "asking by http", err, "https only")
	if k.tokens.Load() != 0 {
		t.Error("a token was asked for")
	}
}

// The hub is told nothing before it is known, and each way out is named.
func TestHubThatIsNotKnown(t *testing.T) {
	other, err := identity.NewAuthority("mine")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Client, *keeper)
		want   []string
	}{
		"another authority": {func(c *Client, _ *keeper) { publish(t, c, other.Certificate()) }, []string{"no certificate of the devspace's authority", "kubectl fmc devspace create mine", "rollout restart deployment/tanajura"}},
		"no authority": {func(c *Client, _ *keeper) {
			if err := c.Kube.CoreV1().ConfigMaps("mine").Delete(t.Context(), api.AuthorityName, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}, []string{"no authority", "kubectl fmc devspace create mine"}},
		"no certificate in it": {func(c *Client, _ *keeper) { publish(t, c, []byte("nothing")) }, []string{"configmap/formicarium-authority", "kubectl fmc devspace create mine"}},
		"may not read it":      {func(c *Client, _ *keeper) { forbid(t, c, "get", "configmaps") }, []string{"get configmaps/formicarium-authority in namespace mine"}},
		"may not have a token": {func(c *Client, _ *keeper) { forbid(t, c, "create", "serviceaccounts") }, []string{"create serviceaccounts/token of formicarium-developer in namespace mine"}},
		"without TLS": {func(c *Client, _ *keeper) {
			plain := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(plain.Close)
			server := newPortForwardServer(t, plain.Listener.Addr().String())
			c.Dial = forwardPods(&rest.Config{Host: server.URL})
		}, []string{"does not speak TLS", "kubectl fmc devspace create mine"}},
		"a pod for the hub": {func(c *Client, k *keeper) {
			pod := k.serve(t, identity.Identity{Kind: identity.Pod, Name: "orders-1", UID: "1"}, http.NotFoundHandler())
			server := newPortForwardServer(t, pod.Listener.Addr().String())
			c.Dial = forwardPods(&rest.Config{Host: server.URL})
		}, []string{"no certificate of the devspace's authority"}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			client, k := lockedClient(t, pods{"tanajura-1/3002": func(http.ResponseWriter, *http.Request) { asked.Add(1) }}, hubPod())
			c.change(client, k)
			hub := client.Hub("mine")
			defer hub.Close()
			_, err := hub.Repositories(t.Context())
			wantError(t, "asking the hub", err, c.want...)
			if asked.Load() > 0 {
				t.Error("the hub was asked")
			}
		})
	}
}

func publish(t *testing.T, c *Client, certificate []byte) {
	t.Helper()
	m := &corev1.ConfigMap{ObjectMeta: authorityMeta("mine"), Data: map[string]string{api.IdentityAuthority: string(certificate)}}
	if _, err := c.Kube.CoreV1().ConfigMaps("mine").Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func forbid(t *testing.T, c *Client, verb, resource string) {
	t.Helper()
	kube, ok := c.Kube.(*fake.Clientset)
	if !ok {
		t.Fatal("the fake client is another")
	}
	kube.PrependReactor(verb, resource, func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
	})
}

// A plugin that goes on over a devspace's deletion trusts the new one.
func TestDevspaceMadeAnew(t *testing.T) {
	client, k := lockedClient(t, nil, hubPod())
	address := k.serve(t, identity.Identity{Kind: identity.Hub}, answer(api.RepositoryList{})).Listener.Addr().String()
	server := newPortForwardServer(t, address)
	client.Dial = forwardPods(&rest.Config{Host: server.URL})
	hub := client.Hub("mine")
	defer hub.Close()
	if _, err := hub.Repositories(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := newKeeper(t)
	second.tokens.Store(k.tokens.Load() + 1) // what the fake API server gives next
	server.backend = second.serve(t, identity.Identity{Kind: identity.Hub}, answer(api.RepositoryList{})).Listener.Addr().String()
	publish(t, client, second.Certificate())
	server.cut()
	eventually(t, "the new hub is asked", func() bool {
		_, err := hub.Repositories(t.Context())
		return err == nil
	})
}

// One certificate is for all Stingers, and each is known by its pod's UID.
func TestStingersKnowTheDeveloper(t *testing.T) {
	later := servicePod("orders", "orders-3", corev1.ConditionTrue)
	later.UID = "another" // than the certificate of what listens there
	objects := []runtime.Object{hubPod(), servicePod("orders", "orders-1", corev1.ConditionTrue), servicePod("orders", "orders-2", corev1.ConditionTrue), later}
	running := answer(api.StingerStatus{State: api.StateRunning})
	client, k := lockedClient(t, pods{"orders-1/24000": running, "orders-2/24000": running, "orders-3/24000": running}, objects...)
	found, err := client.servicePods(t.Context(), "mine", "orders")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for _, s := range runningStingers(found) {
		for range 3 {
			wait.Go(func() {
				status, err := client.stingerStatus(t.Context(), s)
				if s.pod.Name == "orders-3" {
					wantError(t, "asking another pod of the same name", err, "the Stinger of pod orders-3 has no certificate")
				} else if err != nil || status.State != api.StateRunning {
					t.Errorf("%s = %+v, %v", s.pod.Name, status, err)
				}
			})
		}
	}
	wait.Wait()
	if n := k.certificates.Load(); n != 1 {
		t.Errorf("%d certificates were asked for, want one", n)
	}
}

func TestStingerWithoutTLS(t *testing.T) {
	client, _ := lockedClient(t, pods{"orders-1/24001": answer(api.StingerStatus{})}, hubPod())
	old := stinger{servicePod("orders", "orders-1", corev1.ConditionTrue), api.StingerEndpoint{Container: "orders", Port: 24001}}
	_, err := client.stingerStatus(t.Context(), old)
	wantError(t, "asking a Stinger of an older version", err, "does not speak TLS", "deploy its service again")
}

func TestKept(t *testing.T) {
	var k kept[int]
	var calls int
	fault := errors.New("no")
	get := func(renew, ends time.Duration, err error) (int, error) {
		return k.get(func() (lasting[int], error) {
			calls++
			return lasting[int]{calls, time.Now().Add(renew), time.Now().Add(ends)}, err
		})
	}
	for i, c := range []struct {
		renew, ends time.Duration
		err         error
		want        int
		failed      bool
	}{
		{0, 0, fault, 0, true},
		{-1, time.Hour, nil, 2, false},        // to be renewed at once
		{0, 0, fault, 2, false},               // cannot be: the one of before is good still
		{time.Hour, time.Hour, nil, 4, false}, // is
		{0, 0, fault, 4, false},               // need not be
	} {
		got, err := get(c.renew, c.ends, c.err)
		if got != c.want || (err != nil) != c.failed {
			t.Errorf("step %d = %d, %v, want %d", i, got, err, c.want)
		}
	}
	k.forget()
	if _, err := get(-1, -1, nil); err != nil {
		t.Error(err)
	}
	if _, err := get(0, 0, fault); !errors.Is(err, fault) {
		t.Errorf("what has ended and cannot be renewed = %v, want %v", err, fault)
	}
}
