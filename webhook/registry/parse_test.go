package registry

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
)

func TestKeysMatchAsTheKubeletDoes(t *testing.T) {
	for _, c := range []struct {
		key, image string
		want       bool
	}{
		{"registry.example", "registry.example/web", true},
		{"https://registry.example/v1/", "registry.example/web", true},
		{"registry.example/v2/", "registry.example/web", true},
		{"registry.example/team", "registry.example/team/web", true},
		{"registry.example/team", "registry.example/other/web", false},
		{"registry.example:5000", "registry.example/web", false},
		{"registry.example:5000", "registry.example:5000/web", true},
		{"*.example", "registry.example/web", true},
		{"*.example", "a.registry.example/web", false},
		{"*.*.example", "a.registry.example/web", true},
		{"prefix*.example", "prefix-1.example/web", true},
		{"prefix*.example", "other.example/web", false},
		{"https://index.docker.io/v1/", "nginx", true},
		{"docker.io", "docker.io/library/nginx", true},
		{"docker.io", "registry.example/nginx", false},
		{"evil.example", "registry.example/web", false},
		{"[", "registry.example/web", false},
		{"", "registry.example/web", false},
	} {
		ring := &Keyring{}
		file := `{"auths":{"` + c.key + `":{"username":"u","password":"p"}}}`
		if err := ring.Add(secret(corev1.SecretTypeDockerConfigJson, file)); err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(c.image)
		if err != nil {
			t.Fatal(err)
		}
		if got := !ring.For(ref.Context())[0].isAnonymous(); got != c.want {
			t.Errorf("key %q for image %q: %v, want %v", c.key, c.image, got, c.want)
		}
	}
}

func TestLongestPathFirst(t *testing.T) {
	ring := &Keyring{}
	for _, file := range []string{
		`{"r.example":{"auth":"aG9zdDpw"},"r.example/a/b":{"auth":"bG9uZzpw"}}`,
		`{"r.example/a":{"username":"middle","password":"p"},"r.example/x":{"auth":"eDpw"}}`,
	} {
		if err := ring.Add(secret(corev1.SecretTypeDockercfg, file)); err != nil {
			t.Fatal(err)
		}
	}
	ref, _ := name.ParseReference("r.example/a/b/web")
	var users []string
	for _, c := range ring.For(ref.Context()) {
		users = append(users, c.auth.Username)
	}
	if got := strings.Join(users, " "); got != "long middle host" {
		t.Errorf("the order is %s", got)
	}
}

// FuzzSecret looks for pull secrets that stop the webhook.
func FuzzSecret(f *testing.F) {
	f.Add(`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}`, "nginx")
	f.Add(`{"r.example:5000/a":{"username":"u","password":"p"},"*.[":{"identitytoken":"t"}}`, "r.example:5000/a/b@sha256:"+strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, content, image string) {
		ring := &Keyring{}
		_ = ring.Add(secret(corev1.SecretTypeDockerConfigJson, content))
		_ = ring.Add(secret(corev1.SecretTypeDockercfg, content))
		if ref, err := parseReference(image); err == nil {
			list := ring.For(ref.Context())
			if len(list) == 0 || len(list) > 5 {
				t.Errorf("%d credentials", len(list))
			}
			_ = fingerprint(list)
		}
	})
}

// FuzzManifest looks for what a registry could stop the webhook with.
func FuzzManifest(f *testing.F) {
	f.Add(`{"config":{"digest":"sha256:0"}}`)
	f.Add(`{"manifests":[{"digest":"sha256:1","platform":{"os":"linux","architecture":"amd64"}},{"digest":"sha256:2","platform":{"os":"linux","architecture":"arm64"}}]}`)
	f.Add(`{"config":{"Entrypoint":["/a"],"Cmd":["b",null]},"os":"linux"}`)
	f.Add(`{"config":{"Entrypoint":"a"},"manifests":{}}`)
	f.Fuzz(func(t *testing.T, data string) {
		if m, err := parseManifest([]byte(data)); err == nil {
			for _, p := range []Platform{{}, {Architecture: "arm64"}, {"windows", "amd64"}} {
				chosen, other, err := m.choose(p)
				if (chosen == nil) == (err == nil) || other != nil && chosen == other {
					t.Errorf("choose(%v) = %v, %v, %v", p, chosen, other, err)
				}
			}
			if len(m.Manifests) > maxEntries {
				t.Errorf("%d entries", len(m.Manifests))
			}
		}
		if c, err := parseConfig([]byte(data)); err == nil {
			if n := len(strings.Join(append(c.Entrypoint, c.Cmd...), "")); n > 2*maxCommand {
				t.Errorf("a command of %d bytes", n)
			}
		}
	})
}

func TestBoundsOfParsers(t *testing.T) {
	for name, c := range map[string]struct {
		data  string
		parse func([]byte) error
		want  string
	}{
		"entries": {`{"manifests":[` + strings.Repeat("{},", 100_000) + `{}]}`, func(b []byte) error { _, err := parseManifest(b); return err }, "more than 1000 entries"},
		"words":   {`{"config":{"Cmd":[` + strings.Repeat(`"",`, 100_000) + `""]}}`, func(b []byte) error { _, err := parseConfig(b); return err }, "none that a program"},
		"NUL":     {`{"config":{"Cmd":["a\u0000b"]}}`, func(b []byte) error { _, err := parseConfig(b); return err }, "none that a program"},
		"a text":  {`{"config":{"Cmd":"a"}}`, func(b []byte) error { _, err := parseConfig(b); return err }, "not an image"},
	} {
		if err := c.parse([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
