// Package identity is how the programs of one devspace know each other.
//
// Each devspace has an Authority of its own, made by `kubectl fmc devspace
// create`. Its key is the hub's alone; its certificate is what everybody in the
// devspace trusts, and nobody outside does.
//
// To the hub others prove who they are with a Kubernetes token: audience-bound,
// short-lived, and reviewed by the API server. The hub gives them a certificate in
// exchange:
//
//	key, request, err := identity.NewRequest()   // stays in memory
//	// POST api.PathCertificates with the token
//	certificate, err := identity.Pair(answer.Certificate, key)
//
// To each other they prove it with these certificates alone (mutual TLS): a Stinger
// serves with that of its pod, and takes orders from the hub and from developers.
// So no token ever reaches a container in which somebody's code runs, a Stinger
// needs no right in the cluster, and an answer on a save's way waits for no review.
//
// The package knows nothing of Kubernetes.
package identity

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// scheme is that of the URIs in certificates.
const scheme = "formicarium"

// Kind is what somebody is.
type Kind string

// The kinds of identities.
const (
	Hub       Kind = "hub"       // serves, and tells Stingers
	Pod       Kind = "pod"       // serves
	Developer Kind = "developer" // asks
)

// Identity is who somebody is, as a certificate of the devspace's authority says.
type Identity struct {
	Devspace string
	Kind     Kind
	Name     string // of the pod or the developer's account
	UID      string // of the pod
}

// ServerName is the host name for which a server's certificate is checked. A
// pod's UID is in it, so that one pod cannot pass for a later one of its name.
func (i Identity) ServerName() string {
	if i.Kind == Pod {
		return i.UID + ".pod." + api.Domain
	}
	return api.HubName
}

// String is the identity as a URI, such as formicarium://mine/pod/orders-1/UID.
func (i Identity) String() string {
	path := []string{string(i.Kind)}
	for _, part := range []string{i.Name, i.UID} {
		if part != "" {
			path = append(path, part)
		}
	}
	return (&url.URL{Scheme: scheme, Host: i.Devspace, Path: "/" + strings.Join(path, "/")}).String()
}

// Parse reads what String wrote.
func Parse(uri *url.URL) (Identity, error) {
	parts := strings.Split(strings.TrimPrefix(uri.Path, "/"), "/")
	i := Identity{Devspace: uri.Host, Kind: Kind(parts[0])}
	want := map[Kind]int{Hub: 1, Developer: 2, Pod: 3}[i.Kind]
	if uri.Scheme != scheme || uri.Host == "" || len(parts) != want {
		return Identity{}, fmt.Errorf("%q is no identity of a devspace", uri)
	}
	if want > 1 {
		i.Name = parts[1]
	}
	if want > 2 {
		i.UID = parts[2]
	}
	return i, nil
}

// Peer returns who is at the other end of a connection, as a certificate says
// that was verified in the handshake.
func Peer(state *tls.ConnectionState) (Identity, bool) {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.PeerCertificates[0].URIs) != 1 {
		return Identity{}, false
	}
	i, err := Parse(state.PeerCertificates[0].URIs[0])
	return i, err == nil
}
