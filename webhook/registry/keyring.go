package registry

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
)

// Credential is what a registry may be asked with; the zero value is to ask
// anonymously.
type Credential struct{ auth authn.AuthConfig }

func (c Credential) isAnonymous() bool { return c.auth == authn.AuthConfig{} }

// Keyring holds the credentials of pull secrets and finds those for an image
// by the kubelet's rules. Its zero value is empty.
type Keyring struct{ keys []key }

type key struct {
	// host may have * and ? in its parts, path begins with / where it is not
	// empty.
	host, port, path string
	// text is all three, to sort by.
	text       string
	credential Credential
}

// maxKeys bounds a keyring: a Secret has a megabyte at most, and each look-up
// compares with all keys.
const maxKeys = 1000

// dockerHub is the name under which docker login keeps credentials for Docker
// Hub.
const dockerHub = "index.docker.io"

// Add adds a Secret's credentials. The error names no content.
func (k *Keyring) Add(secret *corev1.Secret) error {
	var config map[string]login
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct {
			Auths map[string]login `json:"auths"`
		}
		if json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &file) != nil {
			return fmt.Errorf("key %s is not what docker login writes", corev1.DockerConfigJsonKey)
		}
		config = file.Auths
	case corev1.SecretTypeDockercfg:
		if json.Unmarshal(secret.Data[corev1.DockerConfigKey], &config) != nil {
			return fmt.Errorf("key %s is not what docker login writes", corev1.DockerConfigKey)
		}
	default:
		return fmt.Errorf("its type is none of %s and %s", corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg)
	}
	if len(k.keys)+len(config) > maxKeys {
		return fmt.Errorf("the pull secrets have more than %d registries", maxKeys)
	}
	for server, l := range config {
		if entry, err := parseKey(server); err == nil && !l.credential().isAnonymous() {
			entry.credential = l.credential()
			k.keys = append(k.keys, entry)
		}
	}
	// The longest path of a host first, and the same order each time.
	slices.SortStableFunc(k.keys, func(a, b key) int { return strings.Compare(b.text, a.text) })
	return nil
}

// login is an entry of docker login's file.
type login struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// credential returns what the entry says; auth wins over name and password. One
// that cannot be read says nothing.
func (l login) credential() Credential {
	auth := authn.AuthConfig{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken, RegistryToken: l.RegistryToken}
	if l.Auth != "" {
		text := strings.TrimRight(strings.TrimSpace(l.Auth), "=")
		data, err := base64.RawStdEncoding.DecodeString(text)
		user, password, ok := strings.Cut(string(data), ":")
		if err != nil || !ok {
			return Credential{}
		}
		auth.Username, auth.Password = user, strings.TrimRight(password, "\x00")
	}
	return Credential{auth}
}

// parseKey reads the name of a registry as docker login and the kubelet write
// it: with or without scheme, port and path, and with the /v1/ or /v2/ of the
// protocol.
func parseKey(server string) (key, error) {
	if !strings.HasPrefix(server, "https://") && !strings.HasPrefix(server, "http://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		return key{}, errors.New("not a registry")
	}
	p := u.Path
	if strings.HasPrefix(p, "/v1/") || strings.HasPrefix(p, "/v2/") {
		p = p[len("/v1"):]
	}
	if p == "/" {
		p = ""
	}
	host := u.Hostname()
	if host == "docker.io" {
		host = dockerHub
	}
	return key{host: host, port: u.Port(), path: p, text: host + ":" + u.Port() + p}, nil
}

// matches follows the kubelet: as many parts of the host on both sides, each by
// pattern; the same port; and the path a prefix of the image's.
func (k key) matches(host, port, repository string) bool {
	if k.port != port || !strings.HasPrefix("/"+repository, k.path) {
		return false
	}
	want, have := strings.Split(k.host, "."), strings.Split(host, ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// For returns the credentials to try for the repository, in order: those that
// match, or, where none does, to ask anonymously.
func (k *Keyring) For(repo name.Repository) []Credential {
	var list []Credential
	if k != nil {
		u := url.URL{Host: repo.RegistryStr()}
		for _, entry := range k.keys {
			if entry.matches(u.Hostname(), u.Port(), repo.RepositoryStr()) && !slices.Contains(list, entry.credential) {
				list = append(list, entry.credential)
			}
		}
	}
	if len(list) == 0 {
		return []Credential{{}}
	}
	// A registry need not be asked more often than a person would try.
	const maxTries = 5
	return list[:min(len(list), maxTries)]
}

// fingerprint tells credentials apart without keeping them.
func fingerprint(credentials []Credential) string {
	sum := sha256.New()
	for _, c := range credentials {
		for _, field := range []string{c.auth.Username, c.auth.Password, c.auth.IdentityToken, c.auth.RegistryToken} {
			fmt.Fprintf(sum, "%d:%s", len(field), field)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}
