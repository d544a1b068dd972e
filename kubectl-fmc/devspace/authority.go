package devspace

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// keepAuthority makes the devspace's authority where there is none: a Secret with
// its key, which the hub alone mounts, and a ConfigMap with the certificate that
// all trust. One that is there stays: pods and running plugins trust it.
func (c *Client) keepAuthority(ctx context.Context, devspace string) (*identity.Authority, error) {
	authority, err := c.readAuthority(ctx, devspace)
	if apierrors.IsNotFound(err) {
		authority, err = c.makeAuthority(ctx, devspace)
	}
	if apierrors.IsAlreadyExists(err) { // somebody else was faster
		authority, err = c.readAuthority(ctx, devspace)
	}
	if err != nil {
		return nil, err
	}
	return authority, c.publishAuthority(ctx, authority)
}

func (c *Client) readAuthority(ctx context.Context, devspace string) (*identity.Authority, error) {
	secret, err := c.Kube.CoreV1().Secrets(devspace).Get(ctx, api.AuthorityName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading secret/%s: %w", api.AuthorityName, err)
	}
	if err := checkOwnMeta("Secret", &secret.ObjectMeta); err != nil {
		return nil, err
	}
	authority, err := identity.ParseAuthority(secret.Data[api.AuthorityCertificate], secret.Data[api.AuthorityKey])
	if err == nil && authority.Devspace() != devspace {
		err = fmt.Errorf("it is that of devspace %s", authority.Devspace())
	}
	if err != nil {
		return nil, fmt.Errorf("reading secret/%s: %w: delete it (kubectl -n %s delete secret %s), and the same command again makes a new one, which Stingers follow within a few minutes",
			api.AuthorityName, err, devspace, api.AuthorityName)
	}
	return authority, nil
}

func (c *Client) makeAuthority(ctx context.Context, devspace string) (*identity.Authority, error) {
	authority, err := identity.NewAuthority(devspace)
	if err != nil {
		return nil, err
	}
	key, err := authority.Key()
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{
		ObjectMeta: authorityMeta(devspace),
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{api.AuthorityCertificate: authority.Certificate(), api.AuthorityKey: key},
	}
	if _, err := c.Kube.CoreV1().Secrets(devspace).Create(ctx, secret, metav1.CreateOptions{FieldManager: api.FieldManager}); err != nil {
		return nil, fmt.Errorf("making secret/%s: %w", api.AuthorityName, err)
	}
	return authority, nil
}

// publishAuthority makes or mends the ConfigMap.
func (c *Client) publishAuthority(ctx context.Context, authority *identity.Authority) error {
	maps := c.Kube.CoreV1().ConfigMaps(authority.Devspace())
	want := string(authority.Certificate())
	found, err := maps.Get(ctx, api.AuthorityName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		published := &corev1.ConfigMap{ObjectMeta: authorityMeta(authority.Devspace()), Data: map[string]string{api.IdentityAuthority: want}}
		if _, err := maps.Create(ctx, published, metav1.CreateOptions{FieldManager: api.FieldManager}); err != nil {
			return fmt.Errorf("making configmap/%s: %w", api.AuthorityName, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("reading configmap/%s: %w", api.AuthorityName, err)
	case found.Data[api.IdentityAuthority] == want:
		return nil
	}
	if err := checkOwnMeta("ConfigMap", &found.ObjectMeta); err != nil {
		return err
	}
	found.Data = map[string]string{api.IdentityAuthority: want}
	if _, err := maps.Update(ctx, found, metav1.UpdateOptions{FieldManager: api.FieldManager}); err != nil {
		return fmt.Errorf("mending configmap/%s: %w", api.AuthorityName, err)
	}
	return nil
}

func authorityMeta(devspace string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: api.AuthorityName, Namespace: devspace,
		Labels: map[string]string{api.LabelManagedBy: api.FieldManager, api.LabelDevspace: devspace},
	}
}

// checkOwnMeta is checkOwn for an object that was read.
func checkOwnMeta(kind string, meta *metav1.ObjectMeta) error {
	if meta.Labels[api.LabelManagedBy] == api.FieldManager {
		return nil
	}
	object := &unstructured.Unstructured{}
	object.SetKind(kind)
	object.SetName(meta.Name)
	object.SetNamespace(meta.Namespace)
	return foreignError(object)
}

// noteAuthority writes on the hub's pods which authority they are to have: where
// that is another than before, the hub starts anew with it.
func noteAuthority(hub *unstructured.Unstructured, authority *identity.Authority) error {
	sum := sha256.Sum256(bytes.TrimSpace(authority.Certificate()))
	err := unstructured.SetNestedField(hub.Object, hex.EncodeToString(sum[:8]), "spec", "template", "metadata", "annotations", api.Domain+"/authority")
	if err != nil {
		return fmt.Errorf("noting the authority on %s: %w", objectName(hub), err)
	}
	return nil
}
