package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/webhook/inject"
)

// config is all that the environment says.
type config struct {
	port      int
	certDir   string
	stopDelay time.Duration
	logLevel  string
	// native is "auto", "true" or "false".
	native     string
	kubeconfig string
	inject     inject.Settings
}

func configFrom(getenv func(string) string) (config, error) {
	r := env.NewReader(getenv)
	c := config{
		port:       r.Int("WEBHOOK_PORT", 8443, 1, 65535),
		certDir:    r.String("WEBHOOK_CERT_DIR", "/certs"),
		stopDelay:  r.Duration("WEBHOOK_STOP_DELAY", 5*time.Second),
		logLevel:   r.OneOf("LOG_LEVEL", "info", "debug", "info", "warn", "error"),
		native:     r.OneOf("NATIVE_SIDECAR", "auto", "auto", "true", "false"),
		kubeconfig: r.String("KUBECONFIG", ""),
		inject: inject.Settings{
			Version:        version.String(),
			NetraImage:     required(r, "NETRA_IMAGE"),
			NetraInitImage: required(r, "NETRA_INIT_IMAGE"),
			StingerImage:   required(r, "STINGER_IMAGE"),
			PullPolicy:     corev1.PullPolicy(r.OneOf("IMAGE_PULL_POLICY", "IfNotPresent", "IfNotPresent", "Always", "Never")),
			JaegerEndpoint: httpURL(r, "JAEGER_ENDPOINT", ""),
			HubURL:         strings.TrimRight(httpURL(r, "HUB_URL", fmt.Sprintf("http://%s:%d", api.HubName, api.HubServicePort)), "/"),
			// The CPU limit is there for namespaces whose quota demands one;
			// it is far above what netra uses, so that it does not slow it.
			NetraResources: resources(r, "NETRA", "10m", "1", "24Mi", "128Mi"),
			InitResources:  resources(r, "INIT", "10m", "1", "16Mi", "64Mi"),
		},
	}
	return c, r.Err()
}

func required(r *env.Reader, name string) string {
	v := r.String(name, "")
	if v == "" || strings.ContainsAny(v, " \t\n") {
		r.Fault(name, v, "an image reference")
	}
	return v
}

// httpURL returns the variable, which must be an absolute HTTP URL where it is
// set.
func httpURL(r *env.Reader, name, def string) string {
	v := r.String(name, def)
	if u, err := url.Parse(v); v != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		r.Fault(name, v, "a URL that begins with http:// or https://")
	}
	return v
}

// resources reads the four variables with that prefix.
func resources(r *env.Reader, prefix, cpu, cpuLimit, memory, memoryLimit string) corev1.ResourceRequirements {
	list := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	for _, q := range []struct {
		suffix, def string
		to          corev1.ResourceList
		name        corev1.ResourceName
	}{
		{"_CPU_REQUEST", cpu, list.Requests, corev1.ResourceCPU},
		{"_CPU_LIMIT", cpuLimit, list.Limits, corev1.ResourceCPU},
		{"_MEMORY_REQUEST", memory, list.Requests, corev1.ResourceMemory},
		{"_MEMORY_LIMIT", memoryLimit, list.Limits, corev1.ResourceMemory},
	} {
		v := r.String(prefix+q.suffix, q.def)
		if v == "none" {
			continue
		}
		quantity, err := resource.ParseQuantity(v)
		if err != nil || quantity.Sign() <= 0 {
			r.Fault(prefix+q.suffix, v, "a quantity above 0 such as 10m or 64Mi, or none")
			continue
		}
		q.to[q.name] = quantity
	}
	for name, limit := range list.Limits {
		if request, ok := list.Requests[name]; ok && request.Cmp(limit) > 0 {
			upper := strings.ToUpper(string(name))
			r.Fault(prefix+"_"+upper+"_REQUEST", request.String(), fmt.Sprintf("no more than %s_%s_LIMIT, %s", prefix, upper, limit.String()))
		}
	}
	return list
}
