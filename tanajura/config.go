package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/tell"
)

// config is every setting; the package comment tells what each means.
type config struct {
	dir       string
	bind      string
	port      int
	auth      string
	authority string // directory
	limits    hub.Limits
	stingers  []string
	static    tell.Static // of stingers; nil where pods are watched or nobody is told
	inCluster bool
	namespace string
	grace     time.Duration
	logLevel  string
}

// The kinds of TANAJURA_AUTH.
const (
	authKubernetes = "kubernetes"
	authNone       = "none"
)

const maxInt = int(^uint(0) >> 1)

// readConfig reads the environment and reports all faults at once.
func readConfig(getenv func(string) string) (config, error) {
	r := env.NewReader(getenv)
	// The variable is there in every pod, and is what client-go goes by.
	inCluster := getenv("KUBERNETES_SERVICE_HOST") != ""
	bind, auth := "127.0.0.1", authNone
	if inCluster {
		bind = "" // all addresses of whichever families there are
		auth = authKubernetes
	}
	cfg := config{
		dir:       r.String("TANAJURA_DIR", "/var/lib/tanajura"),
		bind:      r.String("TANAJURA_BIND", bind),
		port:      r.Int("TANAJURA_PORT", api.HubPort, 0, 65535),
		auth:      r.OneOf("TANAJURA_AUTH", auth, authKubernetes, authNone),
		authority: r.Directory("TANAJURA_AUTHORITY", "/var/run/formicarium/authority"),
		limits: hub.Limits{
			Push:         int64(r.Int("TANAJURA_MAX_PUSH", 1<<30, 1, maxInt)),
			Repository:   int64(r.Int("TANAJURA_MAX_REPOSITORY", 4<<30, 1, maxInt)),
			Repositories: r.Int("TANAJURA_MAX_REPOSITORIES", 200, 1, maxInt),
			CollectEvery: r.Int("TANAJURA_COLLECT_EVERY", 100, 1, maxInt),
		},
		stingers:  r.List("TANAJURA_STINGERS"),
		inCluster: inCluster,
		namespace: r.String(api.EnvPodNamespace, ""),
		grace:     r.Duration("TANAJURA_GRACE", 25*time.Second),
		logLevel:  r.OneOf("TANAJURA_LOG_LEVEL", "info", "debug", "info", "warn", "error"),
	}
	return cfg, errors.Join(r.Err(), cfg.validate())
}

// validate checks what one variable alone does not tell.
func (c *config) validate() error {
	var faults []error
	address, err := netip.ParseAddr(c.bind)
	if everywhere := c.inCluster && c.bind == ""; err != nil && !everywhere {
		faults = append(faults, fmt.Errorf("TANAJURA_BIND=%q: want an IP address", c.bind))
	} else if c.auth == authNone && !address.IsLoopback() {
		faults = append(faults, fmt.Errorf("TANAJURA_BIND=%q: with TANAJURA_AUTH=%s anyone who reaches this address could push code: only a loopback address such as 127.0.0.1 is allowed", c.bind, c.auth))
	}
	if c.auth == authKubernetes && !c.inCluster {
		faults = append(faults, fmt.Errorf("TANAJURA_AUTH=%q: outside a pod there is no API server to ask: want %s", c.auth, authNone))
	}
	if c.auth == authKubernetes && c.namespace == "" {
		faults = append(faults, fmt.Errorf("%s=%q: want this pod's namespace (from the downward API)", api.EnvPodNamespace, ""))
	}
	if len(c.stingers) > 0 {
		if c.static, err = tell.ParseStatic(c.stingers); err != nil {
			faults = append(faults, fmt.Errorf("TANAJURA_STINGERS: %w", err))
		}
	}
	return errors.Join(faults...)
}

func (c *config) address() string { return net.JoinHostPort(c.bind, strconv.Itoa(c.port)) }
