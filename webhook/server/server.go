// Package server is the webhook's HTTP interface.
//
//	handler := server.New(server.Options{
//		Settings: settings, Namespaces: namespaces, Ready: ready, Log: log,
//	})
//
//	POST /mutate    an AdmissionReview (admission.k8s.io/v1) of a pod; answered with a patch
//	GET  /healthz   200 while the process lives
//	GET  /readyz    200 when it can answer reviews, else 503 and why
//	GET  /metrics   counters and times, for Prometheus
//
// A review that can be read is always answered with a review that has its UID,
// also where something failed: the API server shows the user that answer's
// message, and has nothing to say of a broken one.
package server

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/formicarium/formicarium/webhook/inject"
	"github.com/formicarium/formicarium/webhook/notice"
)

// Options of the server.
type Options struct {
	Settings   inject.Settings
	Namespaces Namespaces
	// Images knows what images run by themselves; nil knows nothing.
	Images Images
	// Ready reports why reviews cannot be answered yet; nil always can.
	Ready func() error
	// CertificateEnd returns when the serving certificate ends, for the
	// metrics; nil leaves it out.
	CertificateEnd func() time.Time
	// Notify takes what the owner of a pod is told; it does not wait. nil tells
	// nobody.
	Notify func(notice.Notice)
	// Collectors are added to the metrics.
	Collectors []prometheus.Collector
	Log        *slog.Logger
}

type server struct {
	Options
	metrics *metrics
}

// New returns the handler of all that the webhook serves.
func New(options Options) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	s := &server{Options: options, metrics: newMetrics(options.CertificateEnd)}
	s.metrics.registry.MustRegister(options.Collectors...)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.Use(gin.CustomRecoveryWithWriter(nil, s.recovered))
	engine.POST("/mutate", s.mutate)
	engine.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	engine.GET("/readyz", s.readyz)
	engine.GET("/metrics", gin.WrapH(s.metrics.handler()))
	return engine
}

func (s *server) readyz(c *gin.Context) {
	if s.Ready != nil {
		if err := s.Ready(); err != nil {
			c.String(http.StatusServiceUnavailable, "%v\n", err)
			return
		}
	}
	c.String(http.StatusOK, "ok\n")
}

// recovered answers a request that panicked outside of a review.
func (s *server) recovered(c *gin.Context, cause any) {
	s.Log.Error("a request panicked", "path", c.Request.URL.Path, "panic", cause)
	c.AbortWithStatus(http.StatusInternalServerError)
}
