package main

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/internal/sidecar"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/webhook/inject"
)

// config is all that the environment says.
type config struct {
	port int
	// certDir, where set, holds the serving certificate; else the webhook keeps
	// one itself, each of which lives for certLife.
	certDir   string
	certLife  time.Duration
	stopDelay time.Duration
	logLevel  string
	// native is "auto", "true" or "false".
	native     string
	kubeconfig string
	inject     inject.Settings
	images     imageLookup
}

func configFrom(getenv func(string) string) (config, error) {
	r := env.NewReader(getenv)
	c := config{
		port:       r.Int("WEBHOOK_PORT", 8443, 1, 65535),
		certDir:    r.String("WEBHOOK_CERT_DIR", ""),
		certLife:   certificateLife(r),
		stopDelay:  r.Duration("WEBHOOK_STOP_DELAY", 5*time.Second),
		logLevel:   r.OneOf("LOG_LEVEL", "info", "debug", "info", "warn", "error"),
		native:     r.OneOf("NATIVE_SIDECAR", "auto", "auto", "true", "false"),
		kubeconfig: r.String("KUBECONFIG", ""),
		images:     imageLookupFrom(r),
		inject: inject.Settings{
			Version:        version.String(),
			NetraImage:     required(r, "NETRA_IMAGE"),
			NetraInitImage: required(r, "NETRA_INIT_IMAGE"),
			StingerImage:   required(r, "STINGER_IMAGE"),

			NetraInitIPTablesImage: required(r, "NETRA_INIT_IPTABLES_IMAGE"),
			RedirectBackend:        r.OneOf(api.EnvRedirectBackend, sidecar.Backends[0], sidecar.Backends...),

			PullPolicy:     corev1.PullPolicy(r.OneOf("IMAGE_PULL_POLICY", string(corev1.PullIfNotPresent), inject.PullPolicies...)),
			JaegerEndpoint: httpURL(r, "JAEGER_ENDPOINT", ""),
			HubURL:         strings.TrimRight(httpURL(r, "HUB_URL", fmt.Sprintf("https://%s:%d", api.HubName, api.HubServicePort)), "/"),
			// The CPU limit is there for namespaces whose quota demands one;
			// it is far above what netra uses, so that it does not slow it.
			NetraResources: resources(r, "NETRA", "10m", "1", "24Mi", "128Mi"),
			InitResources:  resources(r, "INIT", "10m", "1", "16Mi", "64Mi"),
		},
	}
	return c, r.Err()
}

// certificateLife is bounded below by what the steps of a renewal take, and
// above by what an installation from before renewals had.
func certificateLife(r *env.Reader) time.Duration {
	const name, short, long = "WEBHOOK_CERTIFICATE_LIFE", time.Minute, 10 * 365 * 24 * time.Hour
	life := r.Duration(name, 90*24*time.Hour)
	if life < short || life > long {
		r.Fault(name, life.String(), fmt.Sprintf("a duration from %s to %s", short, long))
	}
	return life
}

func required(r *env.Reader, name string) string {
	v := r.String(name, "")
	if v == "" || strings.ContainsAny(v, " \t\n") {
		r.Fault(name, v, "an image reference")
	}
	return v
}

// httpURL returns the variable as it is, once it has been checked.
func httpURL(r *env.Reader, name, def string) string {
	if r.HTTPURL(name, def) == nil {
		return ""
	}
	return r.String(name, def)
}

// resources reads the four variables with that prefix.
func resources(r *env.Reader, prefix, cpu, cpuLimit, memory, memoryLimit string) corev1.ResourceRequirements {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return inject.ReadResources(r, prefix, corev1.ResourceRequirements{Requests: list(cpu, memory), Limits: list(cpuLimit, memoryLimit)})
}
