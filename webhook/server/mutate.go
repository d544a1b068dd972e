package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"github.com/formicarium/formicarium/webhook/inject"
)

// maxBody bounds a review. The API server takes objects of up to 3 MiB (etcd's
// own limit, 1.5 MiB, is for what it stores, which is more compact); a review
// may hold the object twice, as it is and as it was, and 1 MiB is for the rest.
const maxBody = 7 << 20

// mutate answers a review.
func (s *server) mutate(c *gin.Context) {
	start := time.Now()
	outcome := s.answer(c)
	s.metrics.review(outcome, time.Since(start))
}

// answer writes the answer and returns its outcome.
func (s *server) answer(c *gin.Context) outcome {
	if t, _, err := mime.ParseMediaType(c.GetHeader("Content-Type")); err != nil || t != "application/json" {
		c.String(http.StatusUnsupportedMediaType, "Content-Type is %q: want application/json\n", c.GetHeader("Content-Type"))
		return outcomeBadRequest
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		c.String(http.StatusRequestEntityTooLarge, "the review has more than %d bytes\n", tooLarge.Limit)
		return outcomeBadRequest
	}
	if err != nil {
		c.String(http.StatusBadRequest, "reading the review: %v\n", err)
		return outcomeBadRequest
	}
	var review admissionv1.AdmissionReview
	if err := kjson.Unmarshal(body, &review); err != nil {
		c.String(http.StatusBadRequest, "decoding the review: %v\n", err)
		return outcomeBadRequest
	}
	want := admissionv1.SchemeGroupVersion.WithKind("AdmissionReview")
	if review.GroupVersionKind() != want || review.Request == nil || review.Request.UID == "" {
		c.String(http.StatusBadRequest, "this is a %s: want an %s with a request and its uid\n", review.GroupVersionKind(), want)
		return outcomeBadRequest
	}
	response, outcome := s.review(c.Request.Context(), review.Request)
	response.UID = review.Request.UID
	c.JSON(http.StatusOK, admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	return outcome
}

// review decides. A panic on the way is an answer as well.
func (s *server) review(ctx context.Context, r *admissionv1.AdmissionRequest) (response *admissionv1.AdmissionResponse, result outcome) {
	log := s.Log.With("namespace", r.Namespace, "name", r.Name, "uid", r.UID)
	defer func() {
		if cause := recover(); cause != nil {
			log.Error("a review panicked", "panic", cause, "stack", string(debug.Stack()))
			response, result = failure(http.StatusInternalServerError, fmt.Errorf("formicarium: injecting panicked: %v", cause)), outcomePanic
		}
	}()
	if r.Kind != podKind || r.SubResource != "" || r.Operation != admissionv1.Create {
		// The configuration sends nothing else. What comes all the same is
		// none of our business.
		return &admissionv1.AdmissionResponse{Allowed: true}, outcomeUnchanged
	}
	labels, err := s.Namespaces.Labels(ctx, r.Namespace)
	if err != nil {
		log.Error("looking up the namespace failed", "error", err)
		return failure(http.StatusInternalServerError, fmt.Errorf("formicarium: looking up namespace %s: %w", r.Namespace, err)), outcomeError
	}
	ns := inject.NamespaceFrom(r.Namespace, labels)
	injected, err := inject.Inject(r.Object.Raw, ns, s.settings(ctx, r, ns))
	if err != nil {
		log.Error("injecting failed", "error", err)
		return failure(http.StatusBadRequest, fmt.Errorf("formicarium: %w", err)), outcomeError
	}
	s.metrics.reasons(injected.Reasons)
	s.notify(r, injected)
	response = &admissionv1.AdmissionResponse{Allowed: true, Warnings: injected.Warnings}
	if len(injected.Patch) == 0 {
		log.Debug("unchanged", "pod", podName(injected), "reasons", injected.Reasons)
		return response, outcomeUnchanged
	}
	if response.Patch, err = json.Marshal(injected.Patch); err != nil {
		return failure(http.StatusInternalServerError, fmt.Errorf("formicarium: encoding the patch: %w", err)), outcomeError
	}
	response.PatchType = new(admissionv1.PatchTypeJSONPatch)
	log.Info("patched", "pod", podName(injected), "service", injected.Status.Service, "injected", strings.Join(injected.Injected(), ","), "warnings", injected.Warnings)
	return response, outcomePatched
}

var podKind = metav1.GroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))

// failure refuses the pod: it asked for something that it would start without.
func failure(code int32, err error) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{Status: metav1.StatusFailure, Code: code, Message: err.Error()}}
}

// podName returns a name for the log: most pods have none yet.
func podName(result inject.Result) string {
	if result.Meta.Name != "" {
		return result.Meta.Name
	}
	return result.Meta.GenerateName + "*"
}
