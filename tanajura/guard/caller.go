package guard

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
)

// What the API server says of a token that is bound to a pod.
const (
	extraPodName = "authentication.kubernetes.io/pod-name"
	extraPodUID  = "authentication.kubernetes.io/pod-uid"
	accounts     = "system:serviceaccount:"
)

// identify says who a user is in the devspace.
func identify(devspace string, user User) (identity.Identity, *refusal) {
	pod, uid := first(user.Extra[extraPodName]), first(user.Extra[extraPodUID])
	if pod == "" && uid == "" {
		return identity.Identity{Devspace: devspace, Kind: identity.Developer, Name: user.Name}, nil
	}
	account, ok := strings.CutPrefix(user.Name, accounts)
	namespace, _, _ := strings.Cut(account, ":")
	switch {
	case !ok || pod == "" || uid == "":
		return identity.Identity{}, &refusal{http.StatusForbidden, fmt.Sprintf("the token of %q is bound to a pod and does not say which", user.Name), ""}
	case namespace != devspace:
		return identity.Identity{}, &refusal{http.StatusForbidden,
			fmt.Sprintf("pod %s is of namespace %s, and this hub serves pods of namespace %s alone", pod, namespace, devspace), ""}
	}
	return identity.Identity{Devspace: devspace, Kind: identity.Pod, Name: pod, UID: uid}, nil
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// podMay says what a pod of the devspace may do: nothing by which code that runs
// in one could change another.
func podMay(pod Caller, right Right) error {
	switch {
	case right.Resource == api.ResourceRepositories && right.Verb == "get" && right.Name != "":
		return nil
	case right.Resource == api.ResourceStingers && right.Verb == "update":
		return nil // the certificate says which pod it is of
	}
	return &refusal{http.StatusForbidden, fmt.Sprintf("pod %s may fetch from this hub, and not %s", pod.Name, right), ""}
}

// String is the right in words.
func (r Right) String() string {
	if r.Name == "" {
		return fmt.Sprintf("%s %s.%s", r.Verb, r.Resource, api.ResourceGroup)
	}
	return fmt.Sprintf("%s %s.%s %q", r.Verb, r.Resource, api.ResourceGroup, r.Name)
}
