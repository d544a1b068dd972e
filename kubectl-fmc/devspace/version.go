package devspace

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
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

// oldestMinor is the first minor version of Kubernetes 1 whose webhooks have
// matchConditions for good. An older one would drop them, and the webhook would
// be asked about every pod of the cluster.
const oldestMinor = 30

// checkServer reports a cluster that is too old to install on.
func (c *Client) checkServer() error {
	info, err := c.Kube.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("asking the cluster for its version: %w", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(info.Minor, "+"))
	if err == nil && info.Major == "1" && minor < oldestMinor {
		return fmt.Errorf("the cluster is Kubernetes %s: 1.%d is the oldest that can filter pods before it asks a webhook", info.GitVersion, oldestMinor)
	}
	return nil
}
