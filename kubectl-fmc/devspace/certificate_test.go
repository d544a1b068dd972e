package devspace

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/manifests"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const (
	authority = "-----BEGIN CERTIFICATE-----\nbmV3\n-----END CERTIFICATE-----\n"
	earlier   = "-----BEGIN CERTIFICATE-----\nb2xk\n-----END CERTIFICATE-----\n"
)

func webhookSecret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: manifests.CertificateName, Namespace: api.SystemNamespace},
		Data:       map[string][]byte{"ca.crt": []byte(authority)},
	}
}

func webhookConfiguration(bundle string) *admissionregistrationv1.MutatingWebhookConfiguration {
	var client admissionregistrationv1.WebhookClientConfig
	if bundle != "" {
		client.CABundle = []byte(bundle)
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: manifests.ConfigurationName, ResourceVersion: "7", Labels: map[string]string{api.LabelManagedBy: api.FieldManager}},
		Webhooks:   []admissionregistrationv1.MutatingWebhook{{Name: "pods.inject.formicarium.io", ClientConfig: client}},
	}
}

// An install adds to what the API server trusts and takes nothing away, so that
// it cannot undo a renewal.
func TestInstallAddsToTheBundle(t *testing.T) {
	for what, c := range map[string]struct {
		existing *admissionregistrationv1.MutatingWebhookConfiguration
		issuer   *manifests.Issuer
		want     string
	}{
		"first install":         {nil, nil, authority},
		"without a bundle":      {webhookConfiguration(""), nil, authority},
		"the same":              {webhookConfiguration(authority), nil, authority},
		"of a renewal":          {webhookConfiguration(earlier + authority), nil, earlier + authority},
		"another":               {webhookConfiguration(earlier), nil, earlier + authority},
		"cert-manager":          {webhookConfiguration(earlier), &manifests.Issuer{Kind: "Issuer", Name: "own"}, earlier},
		"cert-manager at first": {nil, &manifests.Issuer{Kind: "Issuer", Name: "own"}, ""},
	} {
		client := &Client{Kube: fake.NewClientset(webhookSecret())}
		got, err := client.caBundle(t.Context(), InstallConfig{CertificateIssuer: c.issuer}, c.existing)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v, want %q", what, got, err, c.want)
		}
	}
	client := &Client{Kube: fake.NewClientset()}
	if _, err := client.caBundle(t.Context(), InstallConfig{}, nil); err == nil || !strings.Contains(err.Error(), "which it makes when it starts") {
		t.Errorf("without a certificate: %v", err)
	}
}

// The webhook writes the configuration too: an install that comes between reads
// it again.
func TestInstallReadsAConfigurationThatChangedAgain(t *testing.T) {
	kube := fake.NewClientset(webhookSecret(), webhookConfiguration(earlier))
	dynamic := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
	var applied []*unstructured.Unstructured
	dynamic.PrependReactor("patch", "mutatingwebhookconfigurations", func(action clienttesting.Action) (bool, runtime.Object, error) {
		object := &unstructured.Unstructured{}
		if err := json.Unmarshal(action.(clienttesting.PatchAction).GetPatch(), &object.Object); err != nil {
			return true, nil, err
		}
		applied = append(applied, object)
		if len(applied) > 1 {
			return true, object, nil
		}
		changed := webhookConfiguration(earlier + authority)
		changed.ResourceVersion = "8"
		if err := kube.Tracker().Update(admissionregistrationv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations"), changed, ""); err != nil {
			return true, nil, err
		}
		return true, nil, apierrors.NewConflict(kinds["MutatingWebhookConfiguration"].resource.GroupResource(), manifests.ConfigurationName, nil)
	})
	client := &Client{Kube: kube, Dynamic: dynamic}
	if _, err := client.applyConfiguration(t.Context(), InstallConfig{Registry: "r", Tag: "t"}); err != nil {
		t.Fatal(err)
	}
	if len(applied) != 2 || applied[0].GetResourceVersion() != "7" || applied[1].GetResourceVersion() != "8" {
		t.Fatalf("applied %d times", len(applied))
	}
	webhooks, _, err := unstructured.NestedSlice(applied[1].Object, "webhooks")
	if err != nil || len(webhooks) != 2 {
		t.Fatalf("%d webhooks, %v", len(webhooks), err)
	}
	for _, w := range webhooks {
		text, _, err := unstructured.NestedString(w.(map[string]any), "clientConfig", "caBundle")
		if bundle, _ := base64.StdEncoding.DecodeString(text); err != nil || string(bundle) != earlier+authority {
			t.Errorf("caBundle = %q, %v", bundle, err)
		}
	}
}

// Who keeps the certificate must be one: what the other needs goes.
func TestInstallRemovesTheOtherKeeper(t *testing.T) {
	object := func(kind string) runtime.Object {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(kinds[kind].resource.GroupVersion().WithKind(kind))
		u.SetNamespace(api.SystemNamespace)
		u.SetName(manifests.WebhookName)
		if kind == "Certificate" {
			u.SetName(manifests.CertificateName)
		}
		return u
	}
	for _, c := range []struct {
		issuer *manifests.Issuer
		want   string
	}{
		{nil, "removed certificate/fmc-webhook-certificate\n"},
		{&manifests.Issuer{Kind: "Issuer", Name: "own"}, "removed rolebinding/webhook\nremoved role/webhook\n"},
	} {
		client := &Client{Dynamic: dynamicfake.NewSimpleDynamicClient(runtime.NewScheme(), object("Certificate"), object("Role"), object("RoleBinding"))}
		for i, want := range []string{c.want, ""} {
			var out bytes.Buffer
			if err := client.removeOther(t.Context(), InstallConfig{CertificateIssuer: c.issuer}, &out); err != nil || out.String() != want {
				t.Errorf("time %d: %q, %v, want %q", i, &out, err, want)
			}
		}
	}
}
