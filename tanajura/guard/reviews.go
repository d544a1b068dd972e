package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// Reviews asks the API server. It is an Authenticator and an Authorizer.
type Reviews struct {
	devspace string
	tokens   authenticationclient.TokenReviewInterface
	access   authorizationclient.LocalSubjectAccessReviewInterface
}

// NewReviews returns the Reviews of a devspace.
func NewReviews(client kubernetes.Interface, devspace string) *Reviews {
	return &Reviews{devspace, client.AuthenticationV1().TokenReviews(), client.AuthorizationV1().LocalSubjectAccessReviews(devspace)}
}

// Authenticate is an Authenticator's.
func (r *Reviews) Authenticate(ctx context.Context, token string) (User, bool, error) {
	audience := api.Audience(r.devspace)
	review, err := r.tokens.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return User{}, false, r.explain("tokenreviews.authentication.k8s.io", err)
	}
	s := review.Status
	// An authenticator that knows nothing of audiences leaves them out, and has
	// found the token good for the API server.
	if !s.Authenticated || s.User.Username == "" || !slices.Contains(s.Audiences, audience) {
		return User{}, false, nil
	}
	user := User{Name: s.User.Username, UID: s.User.UID, Groups: s.User.Groups, Extra: map[string][]string{}}
	for key, values := range s.User.Extra {
		user.Extra[key] = values
	}
	return user, true, nil
}

// Authorize is an Authorizer's.
func (r *Reviews) Authorize(ctx context.Context, user User, right Right) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range user.Extra {
		extra[key] = values
	}
	review, err := r.access.Create(ctx, &authorizationv1.LocalSubjectAccessReview{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.devspace},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Name, UID: user.UID, Groups: user.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: r.devspace, Group: api.ResourceGroup, Resource: right.Resource, Verb: right.Verb, Name: right.Name,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, r.explain("localsubjectaccessreviews.authorization.k8s.io", err)
	}
	return review.Status.Allowed && !review.Status.Denied, nil
}

// explain names the way out where the hub itself lacks a right.
func (r *Reviews) explain(resource string, err error) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the hub's own account may not create %s: kubectl fmc devspace create %s gives it that right", resource, r.devspace)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer after %s", patience)
	}
	return err
}
