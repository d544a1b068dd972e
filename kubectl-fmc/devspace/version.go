package devspace

import (
	"context"
	"errors"
	"fmt"
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
