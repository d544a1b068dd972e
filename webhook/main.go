// Webhook marks pods as they are created: it is the cluster's mutating
// admission webhook, which injects netra-init, netra and Stinger into the pods
// that ask for them. It serves HTTPS:
//
//	POST /mutate    reviews from the API server
//	GET  /healthz, /readyz, /metrics
//
// All settings are environment variables; every fault is reported at once:
//
//	WEBHOOK_PORT         8443                     where it listens
//	WEBHOOK_CERT_DIR                              tls.crt and tls.key, read again when they change, which somebody else renews;
//	                                              unset, the webhook makes and renews its certificate itself
//	WEBHOOK_CERTIFICATE_LIFE 2160h                of those that it makes, from 1m; it renews them at half of it
//	WEBHOOK_STOP_DELAY   5s                       how long it goes on serving after SIGTERM, until nobody sends any more
//	LOG_LEVEL            info                     debug, info, warn or error
//	NETRA_IMAGE                                   required
//	NETRA_INIT_IMAGE                              required
//	NETRA_INIT_IPTABLES_IMAGE                     required: netra-init with the iptables programs, where the backend is iptables
//	STINGER_IMAGE                                 required
//	NETRA_REDIRECT_BACKEND auto                   or nftables, iptables: how netra-init redirects, unless a pod says otherwise
//	IMAGE_PULL_POLICY    IfNotPresent             or Always, Never: for the images above
//	JAEGER_ENDPOINT                               where netra sends spans, unless a pod says otherwise
//	HUB_URL              https://tanajura:24090   the hub as pods see it
//	NATIVE_SIDECAR       auto                     true, false; auto asks the API server's version once (1.29 and later: true)
//	NETRA_CPU_REQUEST    10m                      resources of netra; "none" sets none
//	NETRA_CPU_LIMIT      1
//	NETRA_MEMORY_REQUEST 24Mi
//	NETRA_MEMORY_LIMIT   128Mi
//	INIT_CPU_REQUEST     10m                      resources of netra-init and stinger-install
//	INIT_CPU_LIMIT       1
//	INIT_MEMORY_REQUEST  16Mi
//	INIT_MEMORY_LIMIT    64Mi
//	WEBHOOK_IMAGE_LOOKUP true                     false: images are not asked for their commands
//	WEBHOOK_IMAGE_TIMEOUT 2s                      how long that may hold up an admission, 100ms to 8s
//	WEBHOOK_PLAIN_HTTP_REGISTRIES                 registries (host or host:port) that speak plain HTTP, separated by commas
//	WEBHOOK_REGISTRY_CA                           a PEM file of authorities to trust beside the public ones
//	HTTPS_PROXY, NO_PROXY                         the way to registries, as elsewhere
//	KUBECONFIG                                    outside of a cluster: how to reach one
//
// It needs get, list and watch on namespaces: whether a namespace opts its pods
// in, and which pod security level it enforces, are labels. To read the images
// of private registries it needs get on secrets, in the namespaces of the pods.
// It needs create and patch on events.k8s.io/events, to say on a pod's owner what
// was injected and what was not. What its own certificate needs: see package
// certificate.
package main

import (
	"os"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("webhook", serve)) }
