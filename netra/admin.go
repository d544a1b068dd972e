package main

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/netra/metrics"
)

// maxAdminBody bounds a request's body on the admin port: no handler there
// reads one.
const maxAdminBody = 1 << 10

// admin returns the handler of the admin port; own are netra's ports.
func admin(set *metrics.Set, ready *atomic.Bool, own ...uint16) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = set.WriteTo(w) // the scraper has gone
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET "+api.PathProbeTCP+"{port}", newTCPProber(set, own))
	return http.MaxBytesHandler(mux, maxAdminBody)
}

// profiles returns the handler of the pprof port.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.MaxBytesHandler(mux, maxAdminBody)
}

// adminIdle is how long an idle connection to the admin port is kept: longer
// than the usual interval between two scrapes would only hold memory.
const adminIdle = 15 * time.Second

func adminServer(handler http.Handler) *http.Server {
	return &http.Server{Handler: handler, IdleTimeout: adminIdle}
}
