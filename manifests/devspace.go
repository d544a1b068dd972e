package manifests

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TokenReviewerName names the ClusterRole that lets hubs ask whose tokens are.
// Its binding for one devspace is this name, a hyphen and the devspace's.
const TokenReviewerName = "formicarium-token-reviewer"

// authorityPath is where the hub finds its devspace's authority: the Secret
// api.AuthorityName, which is no part of the manifests, since it holds a key.
const authorityPath = "/var/run/formicarium/authority"

// DevspaceSettings are what differs between devspaces.
type DevspaceSettings struct {
	// Name is the devspace's name and its namespace's.
	Name string
	// Owner is told to people only.
	Owner string
	// HubImage and PullPolicy are those of tanajura.
	HubImage, PullPolicy string
	// HubStorage bounds the hub's repositories and HubMemory its memory.
	HubStorage, HubMemory string
	// CPU, Memory and Pods bound what all pods together may request.
	CPU, Memory string
	Pods        int
}

// Devspace returns the objects of a devspace in the order in which they are to
// be applied; the namespace is the first.
func Devspace(s DevspaceSettings) ([]*unstructured.Unstructured, error) {
	return render("devspace", s)
}
