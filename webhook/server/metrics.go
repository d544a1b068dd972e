package server

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/formicarium/formicarium/webhook/inject"
)

// outcome says how a review ended.
type outcome string

const (
	outcomePatched    outcome = "patched"
	outcomeUnchanged  outcome = "unchanged"
	outcomeError      outcome = "error"
	outcomePanic      outcome = "panic"
	outcomeBadRequest outcome = "bad-request"
)

type metrics struct {
	registry *prometheus.Registry
	reviews  *prometheus.HistogramVec
	parts    *prometheus.CounterVec
}

func newMetrics(certificateEnd func() time.Time) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		reviews: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fmc_webhook_review_seconds",
			Help: "Time from a review's head to its answer, by outcome.",
			// From an ordinary pod (under a millisecond) to the API server's
			// time limit.
			Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .1, .5, 2.5, 10},
		}, []string{"outcome"}),
		parts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fmc_webhook_parts_total",
			Help: "What became of netra and stinger in the pods reviewed, by reason.",
		}, []string{"part", "reason"}),
	}
	m.registry.MustRegister(m.reviews, m.parts, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if certificateEnd != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fmc_webhook_certificate_end_timestamp_seconds",
			Help: "When the serving certificate ends; 0 while there is none.",
		}, func() float64 {
			if end := certificateEnd(); !end.IsZero() {
				return float64(end.Unix())
			}
			return 0
		}))
	}
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) review(o outcome, took time.Duration) {
	m.reviews.WithLabelValues(string(o)).Observe(took.Seconds())
}

func (m *metrics) reasons(list []inject.Reason) {
	for _, r := range list {
		m.parts.WithLabelValues(r.Part, r.Code).Inc()
	}
}
