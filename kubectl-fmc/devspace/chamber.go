package devspace

import (
	"context"
	"fmt"
	"strings"

	"github.com/formicarium/formicarium/kubectl-fmc/chamber"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Chamber returns the devspace's own chamber of that name: the ConfigMap of
// configmap/NAME, else the one that has the name as its label.
func (c *Client) Chamber(ctx context.Context, devspace, name string) (chamber.Chamber, error) {
	found, err := c.chamberMap(ctx, devspace, name)
	if err != nil {
		return chamber.Chamber{}, err
	}
	if len(found.BinaryData) > 0 {
		return chamber.Chamber{}, fmt.Errorf("reading chamber %s: configmap/%s has binary data: want text", name, found.Name)
	}
	return chamber.Parse(name, found.Data)
}

func (c *Client) chamberMap(ctx context.Context, devspace, name string) (*corev1.ConfigMap, error) {
	if bare, is := chamber.ConfigMap(name); is {
		found, err := c.Kube.CoreV1().ConfigMaps(devspace).Get(ctx, bare, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("no chamber %s: devspace %s has no ConfigMap %s: make it with kubectl -n %s create configmap %s --from-file DIRECTORY",
				name, devspace, bare, devspace, bare)
		}
		if err != nil {
			return nil, fmt.Errorf("reading chamber %s: %w", name, err)
		}
		return found, nil
	}
	found, err := c.Kube.CoreV1().ConfigMaps(devspace).List(ctx, metav1.ListOptions{LabelSelector: chamber.Label})
	if err != nil {
		return nil, fmt.Errorf("looking for chamber %s: %w", name, err)
	}
	var fitting []*corev1.ConfigMap
	known := chamber.Names()
	for i := range found.Items {
		label := found.Items[i].Labels[chamber.Label]
		known = append(known, label)
		if label == name {
			fitting = append(fitting, &found.Items[i])
		}
	}
	switch len(fitting) {
	case 1:
		return fitting[0], nil
	case 0:
		return nil, fmt.Errorf("no chamber %q: there are %s; one of your own is a ConfigMap of devspace %s with the label %s=%s",
			name, strings.Join(known, ", "), devspace, chamber.Label, name)
	}
	return nil, fmt.Errorf("chamber %q: both configmap/%s and configmap/%s have the label %s=%s: take it off one, or name one as configmap/NAME",
		name, fitting[0].Name, fitting[1].Name, chamber.Label, name)
}
