package guard_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/tanajura/guard"
	"github.com/formicarium/formicarium/tanajura/guard/guardtest"
	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// ask sends a request to a hub and returns status and body.
func ask(t *testing.T, h *hubtest.Secure, token, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, h.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := h.Client(token).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

const (
	fetchRefs = "/orders.git/info/refs?service=git-upload-pack"
	pushRefs  = "/orders.git/info/refs?service=git-receive-pack"
)

// Who may do what, at a hub with its real routes.
func TestRights(t *testing.T) {
	h := hubtest.NewSecure(t, "mine")
	h.CreateRepository("orders")
	_, request, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := json.Marshal(api.CertificateRequest{Request: string(request)})
	if err != nil {
		t.Fatal(err)
	}
	account := func(name string, rights ...guard.Right) string {
		h.Cluster.Grant(name, rights...)
		return h.Cluster.AccountToken(name, api.Audience("mine"), time.Hour)
	}
	tokens := map[string]string{
		"developer": h.Cluster.DeveloperToken("mine"),
		"pod":       h.Cluster.PodToken("mine", "orders-1", "5f0c"),
		"other pod": h.Cluster.PodTokenFor(api.Audience("mine"), "yours", "spy-1", "6a1d"),
		"stranger":  account("system:serviceaccount:yours:ci"),
		"reader":    account("reader", guard.Right{Verb: "get", Resource: api.ResourceRepositories, Name: "orders"}),
	}
	for _, c := range []struct {
		method, path, body string
		right              string         // how it is named
		want               map[string]int // by who; 403 where it is not named
	}{
		{"GET", fetchRefs, "", `get repositories.formicarium.io "orders"`, map[string]int{"developer": 200, "pod": 200, "reader": 200}},
		{"POST", "/orders.git/git-upload-pack", "", `get repositories.formicarium.io "orders"`, map[string]int{"developer": 415, "pod": 415, "reader": 415}},
		{"GET", pushRefs, "", `update repositories.formicarium.io "orders"`, map[string]int{"developer": 200}},
		{"POST", "/orders.git/git-receive-pack", "", `update repositories.formicarium.io "orders"`, map[string]int{"developer": 415}},
		{"GET", "/api/repositories/orders", "", `get repositories.formicarium.io "orders"`, map[string]int{"developer": 200, "pod": 200, "reader": 200}},
		{"GET", "/api/repositories/payments", "", `get repositories.formicarium.io "payments"`, map[string]int{"developer": 404, "pod": 404}},
		{"GET", "/api/repositories", "", "list repositories.formicarium.io", map[string]int{"developer": 200}},
		{"POST", "/api/repositories", `{"name":"orders"}`, "create repositories.formicarium.io", map[string]int{"developer": 409}},
		{"DELETE", "/api/repositories/nope", "", `delete repositories.formicarium.io "nope"`, map[string]int{"developer": 404}},
		{"POST", api.PathCertificates, string(certificate), "update stingers.formicarium.io", map[string]int{"developer": 201, "pod": 201}},
		{"GET", "/api/version", "", "", map[string]int{"developer": 200, "pod": 200, "reader": 200, "other pod": 200, "stranger": 200}},
	} {
		for who, token := range tokens {
			want := c.want[who]
			if want == 0 {
				want = http.StatusForbidden
			}
			response, text := ask(t, h, token, c.method, c.path, c.body)
			if response.StatusCode != want {
				t.Errorf("%s: %s %s: %d %s, want %d", who, c.method, c.path, response.StatusCode, text, want)
			}
			inJSON := strings.ReplaceAll(c.right, `"`, `\"`)
			switch {
			case want == http.StatusForbidden && who == "other pod":
				if !strings.Contains(text, "namespace yours") || !strings.Contains(text, "namespace mine") {
					t.Errorf("%s: %s %s: %q names not both namespaces", who, c.method, c.path, text)
				}
			case want == http.StatusForbidden && !strings.Contains(text, c.right) && !strings.Contains(text, inJSON):
				t.Errorf("%s: %s %s: %q does not name the right %s", who, c.method, c.path, text, c.right)
			}
		}
	}
}

func TestTokensThatAreNone(t *testing.T) {
	h := hubtest.NewSecure(t, "mine")
	h.CreateRepository("orders")
	mine := api.Audience("mine")
	hour := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name, header, says string
		asked              bool // the API server was
	}{
		{"none", "", "no token was sent", false},
		{"of another scheme", "Digest username=x", "malformed", false},
		{"an empty one", "Bearer ", "no token was sent", false},
		{"malformed basic", "Basic !!", "malformed", false},
		{"no JWT", "Bearer hunter2", "JWT", false},
		{"a JWT of nonsense", "Bearer e30.e30.e30", "JWT", false},
		{"oversized", "Bearer " + strings.Repeat("a", 9<<10), "longer than", false},
		{"more than oversized", "Bearer " + strings.Repeat("a", 40<<10), "longer than", false},
		{"of another devspace", "Bearer " + h.Cluster.PodToken("yours", "p", "1"), "devspace/yours", false},
		{"for the API server", "Bearer " + guardtest.Forge("https://kubernetes.default.svc", hour), "kubernetes.default.svc", false},
		{"that has ended", "Bearer " + guardtest.Forge(mine, time.Now().Add(-time.Hour)), "ended at", false},
		{"that is forged", "Bearer " + guardtest.Forge(mine, hour), "does not know the token", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, _ := h.Cluster.Asked()
			for _, path := range []string{fetchRefs, "/api/repositories", "/nowhere"} {
				var header []string
				if c.header != "" {
					header = []string{"Authorization", c.header}
				}
				response, text := ask(t, h, "", "GET", path, "", header...)
				if response.StatusCode != http.StatusUnauthorized || !strings.Contains(text, c.says) || !strings.Contains(text, "devspace/mine") ||
					!strings.HasPrefix(response.Header.Get("WWW-Authenticate"), "Basic realm=") || !response.Close {
					t.Errorf("%s: %d %v %q, want 401 and %q", path, response.StatusCode, response.Header, text, c.says)
				}
				_, secret, _ := strings.Cut(c.header, " ")
				if len(secret) > 6 && strings.Contains(text, secret) {
					t.Errorf("the answer shows the token: %s", text)
				}
			}
			after, _ := h.Cluster.Asked()
			if want := map[bool]int{true: 1}[c.asked]; after-before != want {
				t.Errorf("the API server was asked %d times, want %d", after-before, want)
			}
		})
	}
	response, _ := ask(t, h, "", "GET", fetchRefs, "", "Authorization", "Bearer a", "Authorization", "Bearer b")
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("two headers are answered %d", response.StatusCode)
	}
	for _, path := range []string{"/healthz", "/readyz", "/api/version"} {
		if response, text := ask(t, h, "", "GET", path, ""); response.StatusCode != http.StatusOK {
			t.Errorf("%s without a token: %d %s", path, response.StatusCode, text)
		}
	}
}

// A certificate is of who the token says, whatever the request says.
func TestCertificates(t *testing.T) {
	h := hubtest.NewSecure(t, "mine")
	for token, want := range map[string]identity.Identity{
		h.Cluster.PodToken("mine", "orders-1", "5f0c"): {Devspace: "mine", Kind: identity.Pod, Name: "orders-1", UID: "5f0c"},
		h.Cluster.DeveloperToken("mine"):               {Devspace: "mine", Kind: identity.Developer, Name: guardtest.Developer("mine")},
	} {
		key, request, err := identity.NewRequest()
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(api.CertificateRequest{Request: string(request)})
		if err != nil {
			t.Fatal(err)
		}
		response, text := ask(t, h, token, "POST", api.PathCertificates, string(body))
		var got api.Certificate
		if err := json.Unmarshal([]byte(text), &got); err != nil || response.StatusCode != http.StatusCreated {
			t.Fatalf("%d %s: %v", response.StatusCode, text, err)
		}
		if _, err := identity.Pair(got.Certificate, key); err != nil {
			t.Error(err)
		}
		block, _ := pem.Decode([]byte(got.Certificate))
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(certificate.URIs) != 1 || certificate.URIs[0].String() != want.String() {
			t.Errorf("it is of %v, want %s", certificate.URIs, want)
		}
		usage := x509.ExtKeyUsageServerAuth
		if want.Kind == identity.Developer {
			usage = x509.ExtKeyUsageClientAuth
		}
		if _, err := certificate.Verify(x509.VerifyOptions{Roots: h.Authority.Roots(), KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Error(err)
		}
		response, text = ask(t, h, token, "POST", api.PathCertificates, `{"request":"x"}`)
		if response.StatusCode != http.StatusBadRequest || !strings.Contains(text, "signing a certificate") {
			t.Errorf("a request that is none: %d %s", response.StatusCode, text)
		}
	}
}

// What is known already goes on while the API server is away; what is not, waits
// for it and is told so.
func TestAPIServerAway(t *testing.T) {
	h := hubtest.NewSecure(t, "mine")
	h.CreateRepository("orders")
	known, fresh := h.Cluster.DeveloperToken("mine"), h.Cluster.DeveloperToken("mine")
	if response, text := ask(t, h, known, "GET", pushRefs, ""); response.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", response.StatusCode, text)
	}
	h.Cluster.SetAway(true)
	if response, text := ask(t, h, known, "GET", pushRefs, ""); response.StatusCode != http.StatusOK {
		t.Errorf("who is known: %d %s", response.StatusCode, text)
	}
	response, text := ask(t, h, known, "DELETE", "/api/repositories/orders", "")
	if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "what you may do") || response.Header.Get("Retry-After") == "" {
		t.Errorf("what was not asked before: %d %s", response.StatusCode, text)
	}
	response, text = ask(t, h, fresh, "GET", pushRefs, "")
	if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "cannot ask the API server who you are") || strings.Contains(text, fresh) {
		t.Errorf("who is not known: %d %s", response.StatusCode, text)
	}
	h.Cluster.SetAway(false)
	if response, text := ask(t, h, fresh, "GET", pushRefs, ""); response.StatusCode != http.StatusOK {
		t.Errorf("when it is back: %d %s", response.StatusCode, text)
	}
}

// However many ask at once, each question is asked once.
func TestManyAskOnce(t *testing.T) {
	h := hubtest.NewSecure(t, "mine")
	h.CreateRepository("orders")
	developer, pod := h.Cluster.DeveloperToken("mine"), h.Cluster.PodToken("mine", "orders-1", "1")
	var all sync.WaitGroup
	for i := range 40 {
		token, path := developer, "/api/repositories/orders"
		if i%2 == 0 {
			token = pod
		}
		client := h.Client(token)
		all.Go(func() {
			response, err := client.Get(h.URL + path)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("request %d: %s", i, response.Status)
			}
		})
	}
	all.Wait()
	if tokens, rights := h.Cluster.Asked(); tokens != 2 || rights != 1 {
		t.Errorf("asked about %d tokens and %d rights, want 2 and 1", tokens, rights)
	}
}

// An invalid name costs no question.
func TestHostileNames(t *testing.T) {
	h := hubtest.NewSecure(t, "mine")
	token := h.Cluster.DeveloperToken("mine")
	for i, path := range []string{"/a%2Fb.git/info/refs", "/api/repositories/%2e%2e", "/UPPER.git/git-receive-pack", "/api/repositories/x.git/git-upload-pack"} {
		if response, text := ask(t, h, token, "GET", path, ""); response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, response.StatusCode, text)
		}
		if _, rights := h.Cluster.Asked(); rights != 0 {
			t.Fatalf("name %d was asked about", i)
		}
	}
}
