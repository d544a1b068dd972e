package registry

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/formicarium/formicarium/webhook/inject"
)

// Lookup answers what package inject wants to know of a pod's images.
type Lookup struct {
	Client *Client
	// Secret returns a Secret of the pod's namespace.
	Secret func(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Log    *slog.Logger
}

// Commands returns an answer for each image of the query, within the client's
// timeout.
func (l Lookup) Commands(ctx context.Context, namespace string, q inject.ImageQuery) map[string]inject.ImageCommand {
	ctx, cancel := context.WithTimeout(ctx, l.Client.options.Timeout)
	defer cancel()
	ring, missing := l.keyring(ctx, namespace, q.PullSecrets)
	commands := make([]inject.ImageCommand, len(q.Images))
	var group sync.WaitGroup
	for i, image := range q.Images {
		group.Go(func() {
			command, err := l.Client.Command(ctx, image, Platform{OS: q.OS, Architecture: q.Architecture}, ring)
			if err != nil {
				command = inject.ImageCommand{Fault: err.Error()}
				if missing != "" && isCredentialFault(err) {
					command.Fault = missing
				}
			}
			commands[i] = command
		})
	}
	group.Wait()
	answers := map[string]inject.ImageCommand{}
	for i, image := range q.Images {
		answers[image] = commands[i]
	}
	return answers
}

// keyring reads the pull secrets. One that cannot be read is left out, as the
// kubelet does, and missing says why, for the user.
func (l Lookup) keyring(ctx context.Context, namespace string, names []string) (ring *Keyring, missing string) {
	ring = &Keyring{}
	for _, name := range names {
		secret, err := l.Secret(ctx, namespace, name)
		switch {
		case apierrors.IsForbidden(err):
			missing = fmt.Sprintf("the webhook may not read pull secret %s (install --image-pull-secrets)", short(name))
		case apierrors.IsNotFound(err):
			missing = fmt.Sprintf("there is no pull secret %s", short(name))
		case err != nil:
			missing = fmt.Sprintf("pull secret %s could not be read in time", short(name))
		default:
			if err = ring.Add(secret); err != nil {
				missing = fmt.Sprintf("pull secret %s cannot be used", short(name))
			}
		}
		if err != nil {
			l.Log.Info("reading a pull secret failed", "namespace", namespace, "secret", name, "error", err)
		}
	}
	return ring, missing
}
