//go:build e2e

package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/keyutil"

	"github.com/formicarium/formicarium/internal/api"
)

// shortest is the shortest time for which an API server gives a token, in seconds.
const shortest = 600

// expiredToken is a developer's that was good in all until it ended, an hour ago.
// API servers give none for less than ten minutes: this one is signed with the
// cluster's own key, and so is a second one that has not ended, and must be good.
// With a cluster whose key is elsewhere a real one is waited for.
func (s *system) expiredToken(t *testing.T) (expired, good string) {
	t.Helper()
	good = s.token(t, devspace, api.DeveloperAccount, api.Audience(devspace), nil)
	key, err := keyutil.PrivateKeyFromFile(filepath.Join(filepath.Dir(s.Kubeconfig), "pki", "service-accounts.key"))
	if errors.Is(err, fs.ErrNotExist) {
		return s.waitedFor(t), good
	}
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return resigned(t, good, key, now.Add(-2*time.Hour), now.Add(-time.Hour)), resigned(t, good, key, now.Add(-time.Minute), now.Add(time.Hour))
}

func (s *system) waitedFor(t *testing.T) string {
	t.Helper()
	seconds := int64(shortest)
	answer, err := s.Clients.CoreV1().ServiceAccounts(devspace).CreateToken(t.Context(), api.DeveloperAccount, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{api.Audience(devspace)}, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(answer.Status.ExpirationTimestamp.Time) + 10*time.Second)
	return answer.Status.Token
}

// resigned is the token with other times.
func resigned(t *testing.T, token string, key any, from, until time.Time) string {
	t.Helper()
	parts := strings.Split(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	claims["iat"], claims["nbf"], claims["exp"] = from.Unix(), from.Unix(), until.Unix()
	if text, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	content := parts[0] + "." + base64.RawURLEncoding.EncodeToString(text)
	sum := sha256.Sum256([]byte(content))
	var signature []byte
	switch key := key.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey: // the two numbers, of 32 bytes each
		r, v, signErr := ecdsa.Sign(rand.Reader, key, sum[:])
		if err = signErr; err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
		}
	default:
		t.Fatalf("the cluster's key is a %T: want RSA, or ECDSA with P-256", key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return content + "." + base64.RawURLEncoding.EncodeToString(signature)
}
