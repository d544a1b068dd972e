package devspace

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

// keeper guards the pods of devspace "mine" as hub and Stingers do: TLS by the
// devspace's authority, tokens at the hub, certificates at Stingers.
type keeper struct {
	*identity.Authority
	// tokens are how many were asked for; the last one alone is good.
	tokens atomic.Int32
	// certificates are how many the hub gave.
	certificates atomic.Int32
	// life of tokens in seconds; 0 is an hour.
	life atomic.Int64
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	authority, err := identity.NewAuthority("mine")
	if err != nil {
		t.Fatal(err)
	}
	return &keeper{Authority: authority}
}

// published is what all trust.
func (k *keeper) published() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: authorityMeta("mine"), Data: map[string]string{api.IdentityAuthority: string(k.Certificate())}}
}

// token is the good one.
func (k *keeper) token() string { return "token-" + strings.Repeat("t", int(k.tokens.Load())) }

// giveTokens has the fake API server answer TokenRequests.
func (k *keeper) giveTokens(kube *fake.Clientset) {
	kube.PrependReactor("create", "serviceaccounts", func(action k8stesting.Action) (bool, runtime.Object, error) {
		create, ok := action.(k8stesting.CreateActionImpl)
		if !ok || action.GetSubresource() != "token" {
			return false, nil, nil
		}
		request, ok := create.Object.(*authenticationv1.TokenRequest)
		if !ok || create.Name != api.DeveloperAccount || action.GetNamespace() != "mine" ||
			len(request.Spec.Audiences) != 1 || request.Spec.Audiences[0] != api.Audience("mine") || *request.Spec.ExpirationSeconds < 600 {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "serviceaccounts/token"}, create.Name, errors.New("not the developer's"))
		}
		k.tokens.Add(1)
		answer := request.DeepCopy()
		if life := k.life.Load(); life != 0 {
			answer.Spec.ExpirationSeconds = &life
		}
		answer.Status = authenticationv1.TokenRequestStatus{Token: k.token(), ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour))}
		return true, answer, nil
	})
}

// serve serves a pod's handler with a certificate, guarded.
func (k *keeper) serve(t *testing.T, who identity.Identity, handler http.Handler) *httptest.Server {
	t.Helper()
	own, err := k.Issue(who)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(k.guard(who, handler))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = identity.ServerConfig(
		func() (*tls.Certificate, error) { return own, nil },
		func() (*x509.CertPool, error) { return k.Roots(), nil })
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func (k *keeper) guard(who identity.Identity, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, known := identity.Peer(r.TLS)
		switch {
		case who.Kind == identity.Pod && (!known || peer.Kind != identity.Developer):
			deny(w, http.StatusUnauthorized, "this Stinger takes orders from the hub and from developers alone")
		case who.Kind == identity.Hub && r.Header.Get("Authorization") != "Bearer "+k.token():
			w.Header().Set("WWW-Authenticate", `Basic realm="formicarium"`)
			deny(w, http.StatusUnauthorized, "no token, or one that is not good")
		case who.Kind == identity.Hub && r.URL.Path == api.PathCertificates:
			k.certify(w, r)
		default:
			handler.ServeHTTP(w, r)
		}
	})
}

func deny(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(api.Error{Error: text})
}

func (k *keeper) certify(w http.ResponseWriter, r *http.Request) {
	var asked api.CertificateRequest
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		deny(w, http.StatusBadRequest, "want a certificate request")
		return
	}
	certificate, err := k.Sign([]byte(asked.Request), identity.Identity{Kind: identity.Developer, Name: "system:serviceaccount:mine:" + api.DeveloperAccount})
	if err != nil {
		deny(w, http.StatusBadRequest, err.Error())
		return
	}
	k.certificates.Add(1)
	w.WriteHeader(http.StatusCreated)
	json.NewEncoder(w).Encode(api.Certificate{Certificate: string(certificate)})
}
