// Package guardtest is an API server that knows tokens and rights, for tests of
// what package guard decides.
//
//	cluster := guardtest.New(t)
//	token := cluster.PodToken("mine", "orders-1", "5f0c")
//	cluster.Grant("system:serviceaccount:mine:dev", guard.Right{Verb: "get", Resource: "repositories"})
//	reviews := guard.NewReviews(cluster.Client, "mine")
//
// It speaks TokenReview and LocalSubjectAccessReview over HTTP, by way of the real
// client.
package guardtest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/tanajura/guard"
)

// Cluster is the API server. Its methods may be used concurrently.
type Cluster struct {
	Client kubernetes.Interface

	t      testing.TB
	mu     sync.Mutex
	tokens map[string]known
	rights map[string][]guard.Right // by user
	away   bool
	// How often it was asked.
	tokenReviews, accessReviews int
}

// known is what is known of a token.
type known struct {
	user      authenticationv1.UserInfo
	audiences []string
}

// New starts an API server that knows nobody.
func New(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{t: t, tokens: map[string]known{}, rights: map[string][]guard.Right{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/tokenreviews", c.reviewToken)
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews", c.reviewAccess)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: s.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Client = client
	return c
}

// PodToken returns a token that is bound to a pod, for the devspace of its
// namespace.
func (c *Cluster) PodToken(namespace, pod, uid string) string {
	return c.PodTokenFor(api.Audience(namespace), namespace, pod, uid)
}

// PodTokenFor is PodToken for an audience of its own choice.
func (c *Cluster) PodTokenFor(audience, namespace, pod, uid string) string {
	return c.issue(authenticationv1.UserInfo{
		Username: "system:serviceaccount:" + namespace + ":default",
		Extra: map[string]authenticationv1.ExtraValue{
			"authentication.kubernetes.io/pod-name": {pod}, "authentication.kubernetes.io/pod-uid": {uid},
		},
	}, audience, time.Hour)
}

// DeveloperToken returns one that the plugin would ask for, with no right but
// those that Grant gives to Developer(devspace).
func (c *Cluster) DeveloperToken(devspace string) string {
	return c.AccountToken(Developer(devspace), api.Audience(devspace), time.Hour)
}

// Developer is the user name of a devspace's account for developers.
func Developer(devspace string) string {
	return "system:serviceaccount:" + devspace + ":" + api.DeveloperAccount
}

// AccountToken returns a token of a user that is bound to no pod.
func (c *Cluster) AccountToken(user, audience string, life time.Duration) string {
	return c.issue(authenticationv1.UserInfo{Username: user, UID: "uid-of-" + user, Groups: []string{"system:serviceaccounts"}}, audience, life)
}

func (c *Cluster) issue(user authenticationv1.UserInfo, audience string, life time.Duration) string {
	token := Forge(audience, time.Now().Add(life))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[token] = known{user, []string{audience}}
	return token
}

// Forge returns what looks like a token, and is known to nobody.
func Forge(audience string, ends time.Time) string {
	body, err := json.Marshal(map[string]any{"aud": []string{audience}, "exp": ends.Unix(), "iss": "https://kubernetes.default.svc"})
	if err != nil {
		panic(err) // strings and a number
	}
	signature := make([]byte, 256)
	_, _ = rand.Read(signature) // never fails
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + encode(body) + "." + encode(signature)
}

// Forget makes a token unknown, as that of a pod that is gone.
func (c *Cluster) Forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tokens, token)
}

// Grant gives a user rights. One without a name is for all names.
func (c *Cluster) Grant(user string, rights ...guard.Right) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rights[user] = append(c.rights[user], rights...)
}

// GrantDeveloper gives the devspace's developers what its Role does.
func (c *Cluster) GrantDeveloper(devspace string) {
	rights := []guard.Right{{Verb: "update", Resource: api.ResourceStingers}}
	for _, verb := range []string{"get", "list", "create", "update", "delete"} {
		rights = append(rights, guard.Right{Verb: verb, Resource: api.ResourceRepositories})
	}
	c.Grant(Developer(devspace), rights...)
}

// SetAway makes it answer nobody, or everybody again.
func (c *Cluster) SetAway(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

// Asked returns how often it was asked about tokens and about rights.
func (c *Cluster) Asked() (tokens, rights int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tokenReviews, c.accessReviews
}

func (c *Cluster) reviewToken(w http.ResponseWriter, r *http.Request) {
	var review authenticationv1.TokenReview
	if !c.read(r, &review) {
		return
	}
	c.mu.Lock()
	c.tokenReviews++
	is, ok := c.tokens[review.Spec.Token]
	c.mu.Unlock()
	var both []string
	for _, audience := range review.Spec.Audiences {
		if slices.Contains(is.audiences, audience) {
			both = append(both, audience)
		}
	}
	if ok && len(both) > 0 {
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: is.user, Audiences: both}
	} else {
		// As the real one does, and worse: it must not be passed on.
		review.Status.Error = "[invalid bearer token " + review.Spec.Token + "]"
	}
	answer(w, review)
}

func (c *Cluster) reviewAccess(w http.ResponseWriter, r *http.Request) {
	var review authorizationv1.LocalSubjectAccessReview
	if !c.read(r, &review) {
		return
	}
	asked := review.Spec.ResourceAttributes
	if namespace := r.PathValue("namespace"); asked == nil || asked.Namespace != namespace || asked.Group != api.ResourceGroup {
		c.t.Errorf("in namespace %s it is asked about %+v", namespace, asked)
		return
	}
	c.mu.Lock()
	c.accessReviews++
	for _, right := range c.rights[review.Spec.User] {
		if right.Verb == asked.Verb && right.Resource == asked.Resource && (right.Name == "" || right.Name == asked.Name) {
			review.Status.Allowed = true
		}
	}
	c.mu.Unlock()
	answer(w, review)
}

// read reads a question, and breaks the connection where it is away.
func (c *Cluster) read(r *http.Request, into any) bool {
	c.mu.Lock()
	away := c.away
	c.mu.Unlock()
	if away {
		panic(http.ErrAbortHandler)
	}
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		c.t.Errorf("asked in %s", kind)
		return false
	}
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		c.t.Errorf("reading a review: %v", err)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, review any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(review)
}
