package devspace

import (
	"context"
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// checkIdentity looks whether a devspace has an authority, and whether its hub is
// known by it.
func (c *Client) checkIdentity(ctx context.Context, devspace string) []Finding {
	const check = "identity"
	way := "kubectl fmc devspace create " + devspace + " puts it right, and keeps what is in the devspace"
	d := c.developer(devspace)
	var none *NoAuthorityError
	switch _, err := d.roots(ctx); {
	case errors.As(err, &none):
		return []Finding{bad(check, way, "devspace %s has no authority: an older version made it, and nobody can speak to its hub and Stingers", devspace)}
	case apierrors.IsForbidden(err):
		return []Finding{unread(check, "the authority of devspace "+devspace, err)}
	case err != nil:
		return []Finding{bad(check, way, "%v", err)}
	}
	pod, port, err := c.hubPod(devspace)(ctx)
	if err != nil {
		return nil // said already, of the hub
	}
	ctx, cancel := context.WithTimeout(ctx, c.Answer)
	defer cancel()
	conn, err := c.Connect(ctx, devspace, pod, port)
	switch {
	case apierrors.IsForbidden(err) || err != nil && strings.Contains(err.Error(), "forbidden"):
		return []Finding{doubtful(check, "", "not looked at: you may not forward ports of the pods of devspace %s", devspace)}
	case err != nil:
		return []Finding{bad(check, "kubectl -n "+devspace+" logs "+pod, "asking the hub of devspace %s for its certificate: %v", devspace, err)}
	}
	secured, err := d.secureHub(ctx, conn)
	if err != nil {
		return []Finding{bad(check, way, "%v", err)}
	}
	secured.Close()
	return []Finding{good(check, "the hub of devspace %s has a certificate of the devspace's authority", devspace)}
}
