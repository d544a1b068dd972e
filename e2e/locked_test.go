//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	plugin "github.com/formicarium/formicarium/kubectl-fmc/devspace"
)

// otherspace is a second devspace, whose pods and developers have no business in
// the first.
const otherspace = devspace + "-other"

// testLocked knocks at a devspace's hub and Stingers with all that is not theirs:
// from this machine over a port-forward, from a pod of the devspace, from a pod of
// another, and through the API server's proxy. The cluster's network lets each of
// them in, so it is the programs that refuse.
func testLocked(t *testing.T, s *system) {
	s.fmc(t, "devspace", "create", otherspace)
	s.fmc(t, "devspace", "use", devspace)
	defer func() {
		s.fmc(t, "devspace", "delete", otherspace, "--yes")
		if left := s.bindings(t, otherspace); len(left) > 0 {
			t.Errorf("after devspace delete there are the ClusterRoleBindings %v", left)
		}
		if left := s.bindings(t, devspace); len(left) != 1 {
			t.Errorf("after the other's devspace delete there are the ClusterRoleBindings %v of %s, want its own", left, devspace)
		}
	}()
	before := s.stinger(t, "orders")
	for _, part := range []struct {
		name string
		test func(*testing.T, *system)
	}{
		{"HubOverPortForward", testHubOverPortForward},
		{"StingerOverPortForward", testStingerOverPortForward},
		{"FromPods", testFromPods},
		{"AuthorityIsTheHubs", testAuthorityIsTheHubs},
		{"NothingShows", testNothingShows},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, s) })
	}
	if after := s.stinger(t, "orders"); after.PID != before.PID || after.Restarts != before.Restarts {
		t.Errorf("the process is %d after %d restarts; before it was %d after %d", after.PID, after.Restarts, before.PID, before.Restarts)
	}
}

// bindings returns the names of a devspace's ClusterRoleBindings.
func (s *system) bindings(t *testing.T, space string) []string {
	t.Helper()
	found, err := s.Clients.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{LabelSelector: api.LabelDevspace + "=" + space})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range found.Items {
		names = append(names, b.Name)
	}
	return names
}

// authority returns what all of a devspace trust.
func (s *system) authority(t *testing.T, space string) []byte {
	t.Helper()
	published, err := s.Clients.CoreV1().ConfigMaps(space).Get(t.Context(), api.AuthorityName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return []byte(published.Data[api.IdentityAuthority])
}

// token asks the API server for a token; an empty audience is the API server's own.
func (s *system) token(t *testing.T, space, account, audience string, bound *authenticationv1.BoundObjectReference) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	answer, err := s.Clients.CoreV1().ServiceAccounts(space).CreateToken(t.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Token
}

// podToken is what the kubelet gives a pod, with the pod's name and UID in it.
func (s *system) podToken(t *testing.T, space, pod, audience string) string {
	t.Helper()
	found, err := s.Clients.CoreV1().Pods(space).Get(t.Context(), pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s.token(t, space, found.Spec.ServiceAccountName, audience, &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: found.UID})
}

// calledBackToken is good by its signature, audience and time, and bound to an
// object that is no more.
func (s *system) calledBackToken(t *testing.T) string {
	t.Helper()
	secrets := s.Clients.CoreV1().Secrets(devspace)
	made, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "bound-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := s.token(t, devspace, api.DeveloperAccount, api.Audience(devspace), &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: made.Name, UID: made.UID})
	if err := secrets.Delete(t.Context(), made.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	return token
}

// Ways to ask the hub.
const (
	getFetch     = "GET /orders.git/info/refs?service=git-upload-pack"
	getPush      = "GET /orders.git/info/refs?service=git-receive-pack"
	getList      = "GET /api/repositories"
	deleteOrders = "DELETE /api/repositories/orders"
)

// door is one program's port, over a port-forward.
type door struct {
	*testing.T
	client *http.Client
	base   string
}

// open forwards a port of a pod and speaks TLS to it, as the server who is asked
// to be there. The road is the plugin's own: kubectl's ends for good when a server
// resets one connection, as one does that closes on whom it does not know.
func (s *system) open(t *testing.T, pod string, port int, server identity.Identity, own *tls.Certificate) *door {
	t.Helper()
	access, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	road := plugin.NewForwarder(access, devspace, plugin.FixedPod(pod, port))
	t.Cleanup(func() { road.Close() })
	roots, err := identity.Roots(s.authority(t, devspace))
	if err != nil {
		t.Fatal(err)
	}
	config := identity.ClientConfig(server, roots, nil)
	if own != nil {
		config = identity.ClientConfig(server, roots, func() (*tls.Certificate, error) { return own, nil })
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return road.Dial(ctx) }
	transport := &http.Transport{DialContext: dial, TLSClientConfig: config, DisableKeepAlives: true}
	return &door{T: t, client: &http.Client{Transport: transport}, base: "https://" + pod}
}

// ask sends a request such as "GET /status" and returns the answer's status, or 0
// and the reason where TLS came to nothing.
func (d *door) ask(what, token string) (int, string) {
	d.Helper()
	method, path, _ := strings.Cut(what, " ")
	r, err := http.NewRequestWithContext(d.Context(), method, d.base+path, nil)
	if err != nil {
		d.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := d.client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	return response.StatusCode, text(d.T, response.Body)
}

// wants fails the test unless the answer has one of the statuses. No answer may
// repeat a token.
func (d *door) wants(who, what, token string, statuses ...int) {
	d.Helper()
	got, body := d.ask(what, token)
	for _, want := range statuses {
		if got == want {
			if token != "" && strings.Contains(body, token) {
				d.Errorf("%s by %s: the answer shows the token", what, who)
			}
			return
		}
	}
	d.Errorf("%s by %s is answered %d %s, want one of %v", what, who, got, strings.TrimSpace(body), statuses)
}

const (
	ok           = http.StatusOK
	unauthorized = http.StatusUnauthorized
	forbidden    = http.StatusForbidden
)

func testHubOverPortForward(t *testing.T, s *system) {
	hub := s.open(t, s.hubPod(t, devspace), api.HubPort, identity.Identity{Kind: identity.Hub}, nil)
	own, other := api.Audience(devspace), api.Audience(otherspace)
	// The control: these are let in, as far as they may.
	developer := s.token(t, devspace, api.DeveloperAccount, own, nil)
	for _, what := range []string{getFetch, getPush, getList} {
		hub.wants("a developer", what, developer, ok)
	}
	expired, good := s.expiredToken(t)
	hub.wants("a developer whose token is of the same make as the expired one", getFetch, good, ok)
	pod := s.podToken(t, devspace, s.pod(t, "orders"), own)
	hub.wants("a pod of the devspace", getFetch, pod, ok)
	for _, what := range []string{getPush, deleteOrders} {
		hub.wants("a pod of the devspace", what, pod, forbidden)
	}
	for who, c := range map[string]struct {
		token    string
		statuses []int
	}{
		"nobody":      {"", []int{unauthorized}},
		"who guesses": {"guessed", []int{unauthorized}},
		"who forges":  {forged(developer), []int{unauthorized}},
		"a developer with a token for the API server":         {s.token(t, devspace, api.DeveloperAccount, "", nil), []int{unauthorized}},
		"a developer with a token for another devspace":       {s.token(t, devspace, api.DeveloperAccount, other, nil), []int{unauthorized}},
		"another devspace's developer with his own token":     {s.token(t, otherspace, api.DeveloperAccount, other, nil), []int{unauthorized}},
		"another devspace's developer with one for this":      {s.token(t, otherspace, api.DeveloperAccount, own, nil), []int{forbidden}},
		"another devspace's pod with its own token":           {s.podToken(t, otherspace, s.hubPod(t, otherspace), other), []int{unauthorized}},
		"another devspace's pod with one for this":            {s.podToken(t, otherspace, s.hubPod(t, otherspace), own), []int{forbidden}},
		"an account of the devspace that nobody gave a right": {s.token(t, devspace, "default", own, nil), []int{forbidden}},
		"who has a token that was called back":                {s.calledBackToken(t), []int{unauthorized}},
		"a developer whose token has ended":                   {expired, []int{unauthorized}},
	} {
		for _, what := range []string{getFetch, getPush, getList, deleteOrders, "POST " + api.PathCertificates} {
			hub.wants(who, what, c.token, c.statuses...)
		}
	}
	hub.wants("nobody", "GET /healthz", "", ok) // the kubelet has no token
}

// forged is the token with another signature.
func forged(token string) string {
	head, signature, _ := cutLast(token, ".")
	return head + "." + strings.Repeat("A", len(signature))
}

func cutLast(text, sep string) (before, after string, found bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

// hubPod returns the name of a devspace's hub's pod.
func (s *system) hubPod(t *testing.T, space string) string {
	t.Helper()
	pods, err := s.Clients.CoreV1().Pods(space).List(t.Context(), metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.HubName})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("looking for the hub of %s: %v, %d pods", space, err, len(pods.Items))
	}
	return pods.Items[0].Name
}

func testStingerOverPortForward(t *testing.T, s *system) {
	name := s.pod(t, "orders")
	pod, err := s.Clients.CoreV1().Pods(devspace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server := identity.Identity{Kind: identity.Pod, Name: name, UID: string(pod.UID)}
	foreign, err := identity.NewAuthority(devspace) // of that name, and not of the devspace
	if err != nil {
		t.Fatal(err)
	}
	forgedCertificate, err := foreign.Issue(identity.Identity{Kind: identity.Developer, Name: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	nobody := s.open(t, name, api.StingerPort, server, nil)
	forger := s.open(t, name, api.StingerPort, server, forgedCertificate)
	nobody.wants("nobody", "GET /health", "", ok)
	for _, what := range []string{"GET /status", "POST /pull", "POST /reset", "POST /start", "POST /stop"} {
		nobody.wants("nobody", what, "", unauthorized, forbidden)
		// With a certificate that is not trusted there is no connection.
		forger.wants("who forges a certificate", what, "", 0, unauthorized, forbidden)
	}
	// A token is of no use there, and is not sent there by anybody.
	nobody.wants("a developer with his token", "GET /status", s.token(t, devspace, api.DeveloperAccount, api.Audience(devspace), nil), unauthorized, forbidden)
	// Not even a cluster administrator's way through the API server leads past it.
	out, err := s.Kubectl(t.Context(), "get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/https:%s:%d/proxy/status", devspace, name, api.StingerPort))
	if err == nil {
		t.Errorf("through the API server's proxy the Stinger answers %s", out)
	}
	// Another pod's Stinger is not taken for this one.
	server.UID = "00000000-0000-0000-0000-000000000000"
	if status, body := s.open(t, name, api.StingerPort, server, nil).ask("GET /health", ""); status != 0 {
		t.Errorf("a Stinger that was asked for under another UID answers %d %s", status, body)
	}
}

// testAuthorityIsTheHubs makes sure that the key which makes identities is in one
// pod alone.
func testAuthorityIsTheHubs(t *testing.T, s *system) {
	pods, err := s.Clients.CoreV1().Pods(devspace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	holders := 0
	for _, pod := range pods.Items {
		for _, v := range pod.Spec.Volumes {
			if v.Secret == nil || v.Secret.SecretName != api.AuthorityName {
				continue
			}
			holders++
			if pod.Labels[api.LabelName] != api.HubName {
				t.Errorf("pod %s mounts the authority", pod.Name)
			}
		}
	}
	if holders != 1 {
		t.Errorf("%d pods mount the authority, want the hub alone", holders)
	}
}

// testNothingShows looks for tokens where others could read them, while a sync
// runs that holds one and after git was used.
func testNothingShows(t *testing.T, s *system) {
	if !holdsToken([]byte(s.token(t, devspace, api.DeveloperAccount, api.Audience(devspace), nil))) {
		t.Fatal("a token is not known when it is seen")
	}
	s.sync(t, "orders")
	clone := filepath.Join(t.TempDir(), "clone")
	s.git(t, "clone", "fmc:orders", clone)
	s.git(t, "-C", clone, "fetch", "origin")
	found := tokensBelow(t, clone)
	found = append(found, tokensOfProcesses(t)...)
	found = append(found, s.tokensInLogs(t)...)
	found = append(found, s.tokensInPod(t)...)
	for _, where := range found {
		t.Errorf("there is a token in %s", where)
	}
}
