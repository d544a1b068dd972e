package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/formicarium/formicarium/netra/metrics"
)

func TestAdmin(t *testing.T) {
	var ready atomic.Bool
	handler := admin(metrics.New("v1"), &ready)
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	if w := ask("GET", "/metrics"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `netra_build_info{version="v1"} 1`) ||
		!strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("/metrics: %d %s", w.Code, w.Body)
	}
	if w := ask("GET", "/healthz"); w.Code != http.StatusOK {
		t.Errorf("/healthz: %d", w.Code)
	}
	if w := ask("GET", "/readyz"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("/readyz before serving: %d", w.Code)
	}
	ready.Store(true)
	if w := ask("GET", "/readyz"); w.Code != http.StatusOK {
		t.Errorf("/readyz while serving: %d", w.Code)
	}
	if w := ask("POST", "/metrics"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /metrics: %d", w.Code)
	}
	if w := ask("GET", "/debug/pprof/"); w.Code != http.StatusNotFound {
		t.Errorf("pprof on the admin port: %d", w.Code)
	}
}
