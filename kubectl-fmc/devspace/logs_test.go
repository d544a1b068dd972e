package devspace

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/formicarium/formicarium/internal/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	appsv1 "k8s.io/api/apps/v1"
)

// logServer is an API server with one service, orders, and the log of its pod.
type logServer struct {
	mu       sync.Mutex
	restarts int32
	lists    int // of pods that fail before one succeeds
	refuse   bool
	streams  []stream // one for each time the log is opened; then it stays open
	asked    []string // the queries
}

// stream is what comes of a log before the connection is cut, or the container
// ends.
type stream struct {
	text string
	cut  bool
}

func (s *logServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json") // of all but the log, where nobody looks
	switch {
	case strings.HasSuffix(r.URL.Path, "/log"):
		s.log(w, r)
	case strings.HasSuffix(r.URL.Path, "/pods"):
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lists > 0 || s.refuse {
			s.lists--
			http.Error(w, "the server is going down", http.StatusInternalServerError)
			return
		}
		pod := servicePod("orders", "orders-1", corev1.ConditionTrue)
		pod.Status.ContainerStatuses[0].RestartCount = s.restarts
		answer(corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{*pod}})(w, r)
	default:
		d := deployment("orders", 1)[0].(*appsv1.Deployment)
		answer(appsv1.DeploymentList{TypeMeta: metav1.TypeMeta{Kind: "DeploymentList", APIVersion: "apps/v1"}, Items: []appsv1.Deployment{*d}})(w, r)
	}
}

func (s *logServer) log(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.RawQuery)
	var next *stream
	if len(s.streams) > 0 {
		next, s.streams = &s.streams[0], s.streams[1:]
	}
	s.mu.Unlock()
	if next == nil {
		<-r.Context().Done()
		return
	}
	fmt.Fprint(w, next.text)
	w.(http.Flusher).Flush()
	if next.cut {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	s.restarts++
	s.mu.Unlock()
}

func (s *logServer) client(t *testing.T) *Client {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	// JSON, since that is what this server speaks.
	config := &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{AcceptContentTypes: "application/json", ContentType: "application/json"}}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	client := fakeClient(t, nil)
	client.Kube = kube
	return client
}

// follow follows the service's log until the end of the test.
func follow(t *testing.T, client *Client) (out, problems *testutil.Buffer, end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, problems = &testutil.Buffer{}, &testutil.Buffer{}
	ended := make(chan error, 1)
	go func() {
		ended <- client.Logs(ctx, LogsConfig{Devspace: "mine", Service: "orders", Follow: true, Tail: 10, Problems: problems}, out)
	}()
	return out, problems, func() error { cancel(); return <-ended }
}

func TestLogsGoOnAfterARestartAndACut(t *testing.T) {
	s := &logServer{streams: []stream{
		{text: "2026-01-02T03:04:05.1Z one\n2026-01-02T03:04:05.2Z two\n2026-01-02T03:04:05.2Z two again\n", cut: true},
		// From the second of the last line.
		{text: "2026-01-02T03:04:05.1Z one\n2026-01-02T03:04:05.2Z two\n2026-01-02T03:04:05.2Z two again\n2026-01-02T03:04:05.3Z three\n"},
		{text: "2026-01-02T03:04:05.3Z three\n2026-01-02T03:04:09Z four, of the next container\n"},
	}}
	out, problems, end := follow(t, s.client(t))
	eventually(t, "the last line", func() bool { return strings.Contains(out.String(), "four, of the next container\n") })
	if err := end(); err != nil {
		t.Errorf("Logs = %v", err)
	}
	if got, want := out.String(), "one\ntwo\ntwo again\nthree\nfour, of the next container\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if !strings.Contains(problems.String(), "not followed, trying again") {
		t.Errorf("told %q, want that the stream was cut", problems.String())
	}
	s.mu.Lock() // a request that was given up may still be on its way in
	defer s.mu.Unlock()
	if !strings.Contains(s.asked[0], "tailLines=10") || !slices.ContainsFunc(s.asked[1:], func(q string) bool { return strings.Contains(q, "sinceTime=2026-01-02T03%3A04%3A05Z") }) {
		t.Errorf("asked %q", s.asked)
	}
}

func TestLogsFollowOnWhereTheListFails(t *testing.T) {
	s := &logServer{lists: 3, streams: []stream{{text: "2026-01-02T03:04:05Z hello\n"}}}
	out, problems, end := follow(t, s.client(t))
	eventually(t, "the line", func() bool { return strings.Contains(out.String(), "hello") })
	// While a stream is open: the end must not wait for it.
	s.mu.Lock()
	s.refuse = true
	s.mu.Unlock()
	if err := end(); err != nil {
		t.Errorf("Logs = %v", err)
	}
	if got := strings.Count(problems.String(), "listing pods"); got != 1 {
		t.Errorf("told %q, want the failure once", problems.String())
	}
}

func TestLogsWithoutThatContainer(t *testing.T) {
	client := (&logServer{}).client(t)
	err := client.Logs(t.Context(), LogsConfig{Devspace: "mine", Service: "orders", Follow: true, Container: "nope"}, &testutil.Buffer{})
	wantError(t, "logs of a container that is not there", err, `pod orders-1 has no "nope"`)
}
