package certificate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/formicarium/formicarium/internal/api"
)

// fieldManager is the name under which the webhook writes.
const fieldManager = "formicarium-webhook"

// trust has the API server trust what the Secret holds, and reports whether it
// trusted, before, anything but the next authority.
func (k *Keeper) trust(ctx context.Context, s state) (trusting bool, err error) {
	configurations := k.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	config, err := configurations.Get(ctx, api.WebhookConfigurationName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil // an install goes on, or an uninstall
	}
	if err != nil {
		return false, fmt.Errorf("reading the webhook configuration %s: %w", api.WebhookConfigurationName, err)
	}
	now := k.now()
	retire := s.serving != nil && s.coming == nil && k.steady.read(s.current.CA, now) >= k.times.retire
	var patches []webhookPatch
	for _, webhook := range config.Webhooks {
		old := webhook.ClientConfig.CABundle
		for _, authority := range authorities(old, now) {
			trusting = trusting || !slices.ContainsFunc(authorities(s.next.CA, now), authority.Equal)
		}
		if bundle := merge(old, s.wanted(), retire, now); !bytes.Equal(bundle, old) {
			var p webhookPatch
			p.Name, p.ClientConfig.CABundle = webhook.Name, bundle
			patches = append(patches, p)
		}
	}
	if len(patches) == 0 {
		return trusting, nil
	}
	k.trusted = stopwatch{}
	if err := k.patch(ctx, config, patches); err != nil {
		return false, fmt.Errorf("writing caBundle of the webhook configuration %s: %w", config.Name, err)
	}
	k.Log.Info("the API server is told whom to trust", "authorities", names(patches[0].ClientConfig.CABundle, now))
	return trusting, nil
}

// webhookPatch is merged into the webhook of its name.
type webhookPatch struct {
	Name         string `json:"name"`
	ClientConfig struct {
		CABundle []byte `json:"caBundle"`
	} `json:"clientConfig"`
}

// patch changes caBundle and nothing else, unless the configuration has changed
// since it was read. An update would drop fields of a newer API.
func (k *Keeper) patch(ctx context.Context, config *admissionregistrationv1.MutatingWebhookConfiguration, webhooks []webhookPatch) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]string{"resourceVersion": config.ResourceVersion},
		"webhooks": webhooks,
	})
	if err != nil {
		return err
	}
	_, err = k.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(ctx, config.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}
