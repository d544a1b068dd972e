package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/webhook/registry"
	"github.com/formicarium/formicarium/webhook/server"
)

// imageLookup is how registries are asked.
type imageLookup struct {
	on        bool
	timeout   time.Duration
	plainHTTP []string
	// authorities is the name of a PEM file, or empty.
	authorities string
}

func imageLookupFrom(r *env.Reader) imageLookup {
	const (
		least = 100 * time.Millisecond // two round trips across a continent
		most  = 8 * time.Second        // the API server waits for ten
	)
	l := imageLookup{
		on:          r.Bool("WEBHOOK_IMAGE_LOOKUP", true),
		timeout:     r.Duration("WEBHOOK_IMAGE_TIMEOUT", 2*time.Second),
		plainHTTP:   r.List("WEBHOOK_PLAIN_HTTP_REGISTRIES"),
		authorities: r.String("WEBHOOK_REGISTRY_CA", ""),
	}
	if l.timeout < least || l.timeout > most {
		r.Fault("WEBHOOK_IMAGE_TIMEOUT", l.timeout.String(), fmt.Sprintf("%s to %s", least, most))
	}
	for _, host := range l.plainHTTP {
		if strings.ContainsAny(host, "/ ") {
			r.Fault("WEBHOOK_PLAIN_HTTP_REGISTRIES", host, "hosts, with a port or without, separated by commas")
		}
	}
	return l
}

// open returns what asks registries, nil where nothing is to ask them.
func (l imageLookup) open(client kubernetes.Interface, log *slog.Logger) (server.Images, error) {
	if !l.on {
		return nil, nil
	}
	o := registry.Options{Timeout: l.timeout, PlainHTTP: l.plainHTTP, Log: log}
	if l.authorities != "" {
		bundle, err := os.ReadFile(l.authorities)
		if err != nil {
			return nil, fmt.Errorf("reading WEBHOOK_REGISTRY_CA: %w", err)
		}
		if o.Roots, err = registry.Roots(bundle); err != nil {
			return nil, fmt.Errorf("WEBHOOK_REGISTRY_CA=%q: %w", l.authorities, err)
		}
	}
	return registry.Lookup{Client: registry.New(o), Log: log, Secret: func(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
		return client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	}}, nil
}
