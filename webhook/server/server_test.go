package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/formicarium/formicarium/webhook/inject"
)

// labels is Namespaces by a table; the names "broken" and "panics" do what
// they say.
type labels map[string]map[string]string

func (l labels) Labels(_ context.Context, name string) (map[string]string, error) {
	switch name {
	case "broken":
		return nil, errors.New("the API server is away")
	case "panics":
		panic("as asked for")
	}
	return l[name], nil
}

func newServer(t *testing.T, change func(*Options)) (url string, log *bytes.Buffer) {
	t.Helper()
	log = new(bytes.Buffer)
	options := Options{
		Settings: inject.Settings{
			Version: "test", NetraImage: "netra", NetraInitImage: "netra-init", StingerImage: "stinger",
			HubURL: "https://tanajura:24090", NativeSidecar: true,
		},
		Namespaces: labels{"shop": {"formicarium.io/inject": "enabled"}, "strict": {"pod-security.kubernetes.io/enforce": "restricted"}},
		Log:        slog.New(slog.NewTextHandler(log, nil)),
	}
	if change != nil {
		change(&options)
	}
	s := httptest.NewServer(New(options))
	t.Cleanup(s.Close)
	return s.URL, log
}

func post(t *testing.T, url, contentType string, body io.Reader) (int, string) {
	t.Helper()
	response, err := http.Post(url+"/mutate", contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func reviewBody(t *testing.T, namespace, pod string) string {
	t.Helper()
	template, err := os.ReadFile("testdata/review.json")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(`"NAMESPACE"`, fmt.Sprintf("%q", namespace), `"POD"`, pod).Replace(string(template))
}

// review posts a review as the API server does and returns the answer.
func review(t *testing.T, url, namespace, pod string) *admissionv1.AdmissionResponse {
	t.Helper()
	code, text := post(t, url, "application/json", strings.NewReader(reviewBody(t, namespace, pod)))
	if code != http.StatusOK {
		t.Fatalf("POST /mutate = %d %s", code, text)
	}
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	if answer.APIVersion != "admission.k8s.io/v1" || answer.Kind != "AdmissionReview" || answer.Request != nil {
		t.Errorf("the answer is a %s %s (request: %v)", answer.APIVersion, answer.Kind, answer.Request)
	}
	if answer.Response == nil || answer.Response.UID != "c2d8a1d5-5a0e-4b8c-8c1a-77a3f6f0a001" {
		t.Fatalf("the answer lacks the request's uid: %s", text)
	}
	return answer.Response
}

const (
	plainPod   = `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"web-","labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"web"}]}}`
	stingerPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","annotations":{"formicarium.io/inject":"enabled"}},"spec":{"containers":[{"name":"web","image":"web","command":["/web"],"new":1.50}]}}`
)

func TestReviewIsAnsweredWithAPatch(t *testing.T) {
	url, log := newServer(t, nil)
	r := review(t, url, "shop", plainPod)
	if !r.Allowed || r.PatchType == nil || *r.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Fatalf("answer = %+v", r)
	}
	patch, err := jsonpatch.DecodePatch(r.Patch)
	if err != nil {
		t.Fatal(err)
	}
	pod, err := patch.Apply([]byte(plainPod))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(pod, []byte(`"name":"netra-init"`)) {
		t.Errorf("the patched pod lacks netra-init: %s", pod)
	}
	if !strings.Contains(log.String(), "pod=web-*") || !strings.Contains(log.String(), "injected=netra") {
		t.Errorf("the log does not say what was injected:\n%s", log)
	}
	again := review(t, url, "shop", string(pod))
	if !again.Allowed || again.Patch != nil || again.PatchType != nil {
		t.Errorf("a second review changes the pod: %s", again.Patch)
	}
}

func TestReviewOfAPodThatDidNotAsk(t *testing.T) {
	url, _ := newServer(t, nil)
	if r := review(t, url, "elsewhere", plainPod); !r.Allowed || r.Patch != nil || len(r.Warnings) > 0 {
		t.Errorf("answer = %+v", r)
	}
}

func TestReviewKnowsTheNamespacesSecurityLevel(t *testing.T) {
	url, _ := newServer(t, nil)
	r := review(t, url, "strict", stingerPod)
	if !r.Allowed || bytes.Contains(r.Patch, []byte("NET_ADMIN\"")) || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `"restricted"`) {
		t.Errorf("answer = %+v\n%s", r, r.Patch)
	}
}

func TestFailuresKeepTheUID(t *testing.T) {
	url, log := newServer(t, nil)
	for _, c := range []struct {
		namespace, pod, message string
		code                    int32
	}{
		{"broken", plainPod, "looking up namespace broken: the API server is away", 500},
		{"panics", plainPod, "injecting panicked: as asked for", 500},
		{"shop", `{"spec":{"containers":"none"}}`, "decoding the pod", 400},
	} {
		r := review(t, url, c.namespace, c.pod)
		if r.Allowed || r.Result == nil || r.Result.Code != c.code || !strings.Contains(r.Result.Message, c.message) {
			t.Errorf("in %s: %+v, want code %d and %q", c.namespace, r.Result, c.code, c.message)
		}
	}
	if !strings.Contains(log.String(), "labels.Labels") {
		t.Errorf("the log has no stack of the panic:\n%s", log)
	}
}

func TestOtherKindsAndOperationsAreLeftAlone(t *testing.T) {
	url, _ := newServer(t, func(o *Options) { o.Namespaces = labels{} })
	template, err := os.ReadFile("testdata/review.json")
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		`"operation": "CREATE"`: `"operation": "UPDATE"`,
		`"kind": "Pod"`:         `"kind": "Service"`,
		`"dryRun": false`:       `"dryRun": false, "subResource": "ephemeralcontainers"`,
	} {
		// "panics" would be noticed if it were asked for.
		body := strings.NewReplacer(`"NAMESPACE"`, `"panics"`, `"POD"`, stingerPod, from, to).Replace(string(template))
		code, text := post(t, url, "application/json; charset=utf-8", strings.NewReader(body))
		if code != http.StatusOK || !strings.Contains(text, `"allowed":true`) || strings.Contains(text, "patch") {
			t.Errorf("with %s: %d %s", to, code, text)
		}
	}
}

func TestWhatIsNoReview(t *testing.T) {
	url, _ := newServer(t, nil)
	for _, c := range []struct {
		contentType, body string
		code              int
		message           string
	}{
		{"text/plain", `{}`, 415, "want application/json"},
		{"", `{}`, 415, "want application/json"},
		{"application/json", `{`, 400, "decoding the review"},
		{"application/json", `{}`, 400, "want an admission.k8s.io/v1"},
		{"application/json", `{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"x"}}`, 400, "v1beta1"},
		{"application/json", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}`, 400, "uid"},
		{"application/json", `{"request":"` + strings.Repeat("x", maxBody) + `"}`, 413, "more than 7340032 bytes"},
	} {
		code, text := post(t, url, c.contentType, strings.NewReader(c.body))
		if code != c.code || !strings.Contains(text, c.message) {
			t.Errorf("%s %.40s = %d %s, want %d %q", c.contentType, c.body, code, text, c.code, c.message)
		}
	}
	response, err := http.Get(url + "/mutate")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET /mutate = %d", response.StatusCode)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestHealth(t *testing.T) {
	var notReady error = errors.New("no certificate")
	url, _ := newServer(t, func(o *Options) { o.Ready = func() error { return notReady } })
	if code, _ := get(t, url+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz = %d", code)
	}
	if code, text := get(t, url+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "no certificate") {
		t.Errorf("/readyz = %d %s", code, text)
	}
	notReady = nil
	if code, _ := get(t, url+"/readyz"); code != http.StatusOK {
		t.Errorf("/readyz = %d, want 200", code)
	}
}

func TestMetrics(t *testing.T) {
	url, _ := newServer(t, nil)
	review(t, url, "shop", plainPod)
	review(t, url, "elsewhere", plainPod)
	review(t, url, "panics", plainPod)
	post(t, url, "text/plain", strings.NewReader(""))
	_, text := get(t, url+"/metrics")
	for _, want := range []string{
		`fmc_webhook_review_seconds_count{outcome="patched"} 1`,
		`fmc_webhook_review_seconds_count{outcome="unchanged"} 1`,
		`fmc_webhook_review_seconds_count{outcome="panic"} 1`,
		`fmc_webhook_review_seconds_count{outcome="bad-request"} 1`,
		`fmc_webhook_parts_total{part="netra",reason="injected"} 1`,
		`fmc_webhook_parts_total{part="netra",reason="not-asked"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// FuzzMutate looks for bodies that get no answer.
func FuzzMutate(f *testing.F) {
	template, err := os.ReadFile("testdata/review.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(template)
	for _, pod := range []string{plainPod, stingerPod, `null`, `{}`} {
		f.Add([]byte(strings.NewReplacer(`"NAMESPACE"`, `"shop"`, `"POD"`, pod).Replace(string(template))))
	}
	handler := New(Options{Namespaces: labels{"shop": {"formicarium.io/inject": "enabled"}}, Log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, body []byte) {
		request := httptest.NewRequest(http.MethodPost, "/mutate", bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		switch recorder.Code {
		case http.StatusBadRequest:
		case http.StatusOK:
			var answer admissionv1.AdmissionReview
			if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || answer.Response == nil || answer.Response.UID == "" {
				t.Fatalf("an answer without a uid (%v): %s", err, recorder.Body)
			}
			if answer.Response.Result != nil && strings.Contains(answer.Response.Result.Message, "panicked") && !bytes.Contains(body, []byte("panics")) {
				t.Fatalf("panic: %s", answer.Response.Result.Message)
			}
		default:
			t.Fatalf("code %d", recorder.Code)
		}
	})
}

// images is Images by a table.
type images map[string]inject.ImageCommand

func (i images) Commands(_ context.Context, namespace string, q inject.ImageQuery) map[string]inject.ImageCommand {
	if namespace != "shop" || len(q.Images) != 1 || q.Images[0] != "r/web" || len(q.PullSecrets) != 1 || q.PullSecrets[0] != "regcred" {
		panic(fmt.Sprintf("asked for %s %+v", namespace, q))
	}
	return i
}

func TestImagesAreAskedForTheirCommand(t *testing.T) {
	const body = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":"CREATE","namespace":"shop","kind":{"version":"v1","kind":"Pod"},"object":
		{"metadata":{"annotations":{"formicarium.io/inject":"stinger"}},"spec":{"imagePullSecrets":[{"name":"regcred"}],"containers":[{"name":"web","image":"r/web"%s}]}}}}`
	for own, want := range map[string]string{"": `"run","--","/entry"`, `,"command":["/own"]`: `"run","--","/own"`} {
		o := Options{
			Namespaces: labels{"shop": nil}, Images: images{"r/web": {Entrypoint: []string{"/entry"}}}, Log: slog.New(slog.DiscardHandler),
		}
		if own != "" {
			o.Images = images(nil) // and would panic
		}
		recorder := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodPost, "/mutate", strings.NewReader(fmt.Sprintf(body, own)))
		request.Header.Set("Content-Type", "application/json")
		New(o).ServeHTTP(recorder, request)
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(recorder.Body.Bytes(), &review); err != nil {
			t.Fatal(err)
		}
		if r := review.Response; !r.Allowed || !strings.Contains(string(r.Patch), want) {
			t.Errorf("container %q: %s %+v, want %s", own, r.Patch, r.Result, want)
		}
	}
}
