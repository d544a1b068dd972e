package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/internal/sidecar"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/trace"
)

// newExporter starts the exporter. The returned function ends it.
func (s settings) newExporter(set *metrics.Set, logger *slog.Logger) (trace.Exporter, func(context.Context) error, error) {
	switch s.exporter {
	case sidecar.ExporterOTLP:
		e := trace.NewOTLP(s.otlp, s.serviceName, s.process, version.String(), set, logger)
		return e, e.Close, nil
	case sidecar.ExporterNone:
		return trace.Discard{}, func(context.Context) error { return nil }, nil
	default:
		return trace.NewJaeger(s.serviceName, s.process, set, logger)
	}
}

func otlpSettings(r *env.Reader, told sidecar.OTLP) trace.OTLPSettings {
	return trace.OTLPSettings{
		Endpoint: told.Endpoint, Headers: told.Headers, Gzip: told.Gzip, TLS: readTLS(r, told),
		SampleRatio: told.SampleRatio, QueueSize: told.QueueSize, BatchSize: told.BatchSize,
		Delay: told.Delay, Timeout: told.Timeout, ExportTimeout: told.ExportTimeout,
	}
}

// readTLS reads the certificates' files. It returns nil where none are named.
func readTLS(r *env.Reader, told sidecar.OTLP) *tls.Config {
	var config tls.Config
	if f := told.Roots; f.Path != "" {
		config.RootCAs = x509.NewCertPool()
		if bundle, err := os.ReadFile(f.Path); err != nil {
			r.Fault(f.Variable, f.Path, fmt.Sprintf("a file of certificates (%v)", err))
		} else if !config.RootCAs.AppendCertsFromPEM(bundle) {
			r.Fault(f.Variable, f.Path, "a file of PEM certificates; it holds none")
		}
	}
	if f := told.Certificate; f.Path != "" && told.Key.Path != "" {
		pair, err := tls.LoadX509KeyPair(f.Path, told.Key.Path)
		if err != nil {
			r.Fault(f.Variable, f.Path, fmt.Sprintf("a PEM certificate whose key is in the file that %s names (%v)", told.Key.Variable, err))
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if config.RootCAs == nil && config.Certificates == nil {
		return nil
	}
	return &config
}
