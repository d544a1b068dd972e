package devspace

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// kind is one that the plugin makes: how the API server calls it, and whether
// it stands outside of namespaces.
type kind struct {
	resource schema.GroupVersionResource
	cluster  bool
}

func core(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: resource}
}

func grouped(group, resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
}

// kinds are all that the plugin makes. The list is fixed, so nothing has to be
// asked of the API server's discovery, which takes longer than the rest of a
// small command.
var kinds = map[string]kind{
	"Namespace":                    {resource: core("namespaces"), cluster: true},
	"ConfigMap":                    {resource: core("configmaps")},
	"Secret":                       {resource: core("secrets")},
	"Service":                      {resource: core("services")},
	"ServiceAccount":               {resource: core("serviceaccounts")},
	"ResourceQuota":                {resource: core("resourcequotas")},
	"LimitRange":                   {resource: core("limitranges")},
	kindClaim:                      {resource: core("persistentvolumeclaims")},
	"Deployment":                   {resource: grouped("apps", "deployments")},
	"PodDisruptionBudget":          {resource: grouped("policy", "poddisruptionbudgets")},
	"NetworkPolicy":                {resource: grouped("networking.k8s.io", "networkpolicies")},
	"Role":                         {resource: grouped("rbac.authorization.k8s.io", "roles")},
	"RoleBinding":                  {resource: grouped("rbac.authorization.k8s.io", "rolebindings")},
	"ClusterRole":                  {resource: grouped("rbac.authorization.k8s.io", "clusterroles"), cluster: true},
	"ClusterRoleBinding":           {resource: grouped("rbac.authorization.k8s.io", "clusterrolebindings"), cluster: true},
	"PriorityClass":                {resource: grouped("scheduling.k8s.io", "priorityclasses"), cluster: true},
	"Certificate":                  {resource: grouped("cert-manager.io", "certificates")},
	"MutatingWebhookConfiguration": {resource: grouped("admissionregistration.k8s.io", "mutatingwebhookconfigurations"), cluster: true},
}

// managed is the selector of everything that the plugin made.
const managed = api.LabelManagedBy + "=" + api.FieldManager

// resource returns the dynamic client for object's kind and namespace.
func (c *Client) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	k, ok := kinds[object.GetKind()]
	if !ok {
		return nil, fmt.Errorf("finding the resource of kind %q: it is not one that the plugin makes", object.GetKind())
	}
	if k.cluster {
		return c.Dynamic.Resource(k.resource), nil
	}
	return c.Dynamic.Resource(k.resource).Namespace(object.GetNamespace()), nil
}

// apply applies object server-side. Fields that others changed in the meantime
// are taken back, but only in an object that the plugin made; another object of
// that name is refused.
func (c *Client) apply(ctx context.Context, object *unstructured.Unstructured) error {
	if err := c.checkOwn(ctx, object); err != nil {
		return err
	}
	_, err := c.patch(ctx, object)
	return err
}

// try has the API server say what an apply would make of the object.
func (c *Client) try(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return c.patch(ctx, object, metav1.DryRunAll)
}

func (c *Client) patch(ctx context.Context, object *unstructured.Unstructured, dryRun ...string) (*unstructured.Unstructured, error) {
	r, err := c.resource(object)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(object.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", objectName(object), err)
	}
	force := true
	made, err := r.Patch(ctx, object.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: api.FieldManager, Force: &force, DryRun: dryRun})
	if err != nil {
		return nil, fmt.Errorf("applying %s: %w", objectName(object), err)
	}
	return made, nil
}

// checkOwn refuses an object whose name is taken by one that the plugin did not
// make.
func (c *Client) checkOwn(ctx context.Context, object *unstructured.Unstructured) error {
	r, err := c.resource(object)
	if err != nil {
		return err
	}
	existing, err := r.Get(ctx, object.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("looking for %s: %w", objectName(object), err)
	case existing.GetLabels()[api.LabelManagedBy] != api.FieldManager:
		return foreignError(object)
	}
	return nil
}

func foreignError(object *unstructured.Unstructured) error {
	name, where := objectName(object), ""
	if object.GetNamespace() != "" {
		where = " -n " + object.GetNamespace()
	}
	return fmt.Errorf("%s exists and was not made by the plugin: delete it, or let the plugin take it over with\n  kubectl label %s%s %s=%s",
		name, name, where, api.LabelManagedBy, api.FieldManager)
}

// objectName is how kubectl names an object: deployment/orders.
func objectName(object *unstructured.Unstructured) string {
	return strings.ToLower(object.GetKind()) + "/" + object.GetName()
}
