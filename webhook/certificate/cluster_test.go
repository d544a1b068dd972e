package certificate

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/formicarium/formicarium/internal/api"
)

const life = 90 * 24 * time.Hour

// cluster is a fake API server with what this package relies on and the fake
// leaves out: a write that names an old resourceVersion is a conflict.
type cluster struct {
	*fake.Clientset
	mu      sync.Mutex
	version int
	// refuse, where set, may refuse any call.
	refuse func(clienttesting.Action) error
}

func newCluster(t *testing.T, objects ...runtime.Object) *cluster {
	t.Helper()
	c := &cluster{Clientset: fake.NewClientset(objects...)}
	apply := clienttesting.ObjectReaction(c.Tracker())
	c.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.refuse != nil {
			if err := c.refuse(action); err != nil {
				return true, nil, err
			}
		}
		switch a := action.(type) {
		case clienttesting.PatchActionImpl:
			var body map[string]any
			if err := json.Unmarshal(a.Patch, &body); err != nil {
				return true, nil, err
			}
			metadata := body["metadata"].(map[string]any)
			if err := c.check(a, a.Name, metadata["resourceVersion"].(string)); err != nil {
				return true, nil, err
			}
			c.version++
			metadata["resourceVersion"] = strconv.Itoa(c.version)
			patch, err := json.Marshal(body)
			if err != nil {
				return true, nil, err
			}
			a.Patch = patch
			return apply(a)
		case clienttesting.UpdateActionImpl: // a create, too
			object, err := meta.Accessor(a.Object)
			if err != nil {
				return true, nil, err
			}
			if a.Verb == "update" {
				if err := c.check(a, object.GetName(), object.GetResourceVersion()); err != nil {
					return true, nil, err
				}
			}
			c.version++
			object.SetResourceVersion(strconv.Itoa(c.version))
		}
		return false, nil, nil
	})
	return c
}

// check is a conflict where version is not that of the object.
func (c *cluster) check(action clienttesting.Action, name, version string) error {
	object, err := c.Tracker().Get(action.GetResource(), action.GetNamespace(), name)
	if err != nil {
		return err
	}
	stored, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	if stored.GetResourceVersion() != version {
		return apierrors.NewConflict(action.GetResource().GroupResource(), name, nil)
	}
	return nil
}

func (c *cluster) secret(t *testing.T) *corev1.Secret {
	t.Helper()
	secret, err := c.CoreV1().Secrets(api.SystemNamespace).Get(context.Background(), api.WebhookCertificateName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// bundle is what an API server trusts at this moment.
func (c *cluster) bundle(t *testing.T) []byte {
	t.Helper()
	config, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(context.Background(), api.WebhookConfigurationName, metav1.GetOptions{})
	if err != nil {
		t.Error(err)
		return nil
	}
	for _, webhook := range config.Webhooks[1:] {
		if string(webhook.ClientConfig.CABundle) != string(config.Webhooks[0].ClientConfig.CABundle) {
			t.Error("the webhooks of the configuration have different bundles")
		}
	}
	return config.Webhooks[0].ClientConfig.CABundle
}

func configuration(bundle []byte) *admissionregistrationv1.MutatingWebhookConfiguration {
	config := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: api.WebhookConfigurationName}}
	for _, name := range []string{"pods.inject.formicarium.io", "namespaces.inject.formicarium.io"} {
		config.Webhooks = append(config.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name: name, ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: bundle},
		})
	}
	return config
}

func secret(current, next Pair) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: api.WebhookCertificateName, Namespace: api.SystemNamespace},
		Type:       corev1.SecretTypeTLS, Data: write(map[string][]byte{"other": []byte("stays")}, current, next),
	}
}

func makePair(t *testing.T, made time.Time, life time.Duration) Pair {
	t.Helper()
	pair, err := Make(api.WebhookNames(), life, made)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// newKeeper returns one whose rounds the test goes itself, at a time of its own.
func newKeeper(t *testing.T, client kubernetes.Interface) (*Keeper, *time.Time) {
	t.Helper()
	k := New(Options{Client: client, Life: life, Log: slog.New(slog.NewTextHandler(testLog{t}, nil))})
	now := time.Now()
	k.now = func() time.Time { return now }
	return k, &now
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", p)
	return len(p), nil
}
