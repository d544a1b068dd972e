package devspace

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Versions are those of the plugin, the cluster and what is installed in it.
type Versions struct {
	Client    string `json:"client"`
	Installed string `json:"installed,omitempty"`
	Image     string `json:"image,omitempty"`
	Cluster   string `json:"cluster,omitempty"`
}

// Versions asks the cluster. Where Formicarium is not installed, Installed is
// empty.
func (c *Client) Versions(ctx context.Context, client string) (Versions, error) {
	v := Versions{Client: client}
	server, err := c.Kube.Discovery().ServerVersion()
	if err != nil {
		return v, fmt.Errorf("asking the API server for its version: %w", err)
	}
	v.Cluster = server.GitVersion
	installation, err := c.Installation(ctx)
	switch {
	case errors.Is(err, ErrNotInstalled):
		return v, nil
	case err != nil:
		return v, err
	}
	v.Installed = installation.Version
	v.Image = installation.Registry + "/webhook:" + installation.Tag
	return v, nil
}

// Minor versions of Kubernetes 1. From oldestMinor on the API server can filter
// pods before it asks a webhook (matchConditions); up to surelyMinor that could
// be turned off, and such a server drops the filter without a word: the webhook
// would be asked about every pod of the cluster.
const (
	oldestMinor = 28
	surelyMinor = 30
)

// checkServer reports a cluster that is too old to install on, or that would
// not keep the filter of configuration.
func (c *Client) checkServer(ctx context.Context, configuration *unstructured.Unstructured) error {
	info, err := c.Kube.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("asking the cluster for its version: %w", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(info.Minor, "+"))
	switch {
	case err != nil || info.Major != "1" || minor >= surelyMinor:
		return nil
	case minor < oldestMinor:
		return fmt.Errorf("the cluster is Kubernetes %s: 1.%d is the oldest that can filter pods before it asks a webhook", info.GitVersion, oldestMinor)
	}
	kept, err := c.try(ctx, configuration)
	if err != nil {
		return fmt.Errorf("trying whether the API server filters pods: %w", err)
	}
	webhooks, _, err := unstructured.NestedSlice(kept.Object, "webhooks")
	if err != nil {
		return fmt.Errorf("trying whether the API server filters pods: %w", err)
	}
	for _, item := range webhooks {
		if w, ok := item.(map[string]any); !ok || w["matchConditions"] == nil {
			return fmt.Errorf("the API server (Kubernetes %s) drops matchConditions and would ask the webhook about every pod: turn on its feature gate AdmissionWebhookMatchConditions", info.GitVersion)
		}
	}
	return nil
}
