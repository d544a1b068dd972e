package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/internal/handover"
	"github.com/formicarium/formicarium/internal/reload"
	"github.com/formicarium/formicarium/stinger/agent"
	"github.com/formicarium/formicarium/stinger/credential"
)

const (
	// envBind is read by Stinger alone.
	envBind = "STINGER_BIND"
	// podState is the state directory that injected containers have.
	podState = "/fmc/state"
	// defaultGrace leaves a third of a pod's default grace period (30 s) to
	// the process, and the rest to what comes before and after.
	defaultGrace = 10 * time.Second
)

// config is everything that the environment says; see the package comment.
type config struct {
	app, scripts, state string
	gitURL              string
	startAfterPull      bool
	waitForCode         bool
	port                int
	bind                string
	grace               time.Duration
	buildTimeout        time.Duration
	auth                string // api.AuthDevspace or api.AuthNone
	identity            string // a directory
	rules               reload.Rules
	sockets             []handover.Socket
}

// configFromEnv reads and checks the settings; the error has every fault.
// writable reports whether a directory is there and can be written to.
func configFromEnv(getenv func(string) string, writable func(dir string) bool) (config, error) {
	r := env.NewReader(ownFirst(getenv))
	bind, auth := "127.0.0.1", api.AuthNone
	if getenv("KUBERNETES_SERVICE_HOST") != "" { // the kubelet sets it in every pod
		bind = "" // all addresses of whatever families there are
		auth = api.AuthDevspace
	}
	c := config{
		app:            r.Directory(api.EnvAppPath, "/app"),
		scripts:        r.Directory(api.EnvStingerScripts, "/scripts"),
		gitURL:         r.String(api.EnvGitURL, ""),
		startAfterPull: r.Bool(api.EnvStartAfterPull, false),
		waitForCode:    r.Bool(api.EnvStingerWaitForCode, true),
		port:           r.Int(api.EnvStingerPort, api.StingerPort, 0, 65535),
		bind:           r.String(envBind, bind),
		grace:          r.Duration(api.EnvStingerGrace, defaultGrace),
		buildTimeout:   r.Limit(api.EnvStingerBuildTimeout, agent.DefaultBuildTimeout),
		auth:           r.OneOf(api.EnvStingerAuth, auth, api.AuthDevspace, api.AuthNone),
		identity:       r.Directory(api.EnvStingerIdentity, api.IdentityPath),
		rules:          reload.Read(r),
		sockets:        handover.Read(r),
	}
	state := filepath.Join(filepath.Dir(filepath.Clean(c.app)), "."+filepath.Base(c.app)+".stinger")
	if writable(podState) {
		state = podState
	}
	c.state = r.Directory(api.EnvStingerState, state)
	c.validate(r)
	c.app, c.scripts, c.state = filepath.Clean(c.app), filepath.Clean(c.scripts), filepath.Clean(c.state)
	c.identity = filepath.Clean(c.identity)
	c.useTLS()
	return c, r.Err()
}

// ownFirst reads the names that are Stinger's alone before those that an
// application may have for itself.
func ownFirst(getenv func(string) string) func(string) string {
	return func(name string) string {
		if slices.Contains(api.SharedStingerVariables, name) {
			if v := getenv(api.StingerOwn(name)); v != "" {
				return v
			}
		}
		return getenv(name)
	}
}

func (c config) validate(r *env.Reader) {
	if within(c.state, c.app) || within(c.app, c.state) {
		r.Fault(api.EnvStingerState, c.state, "a directory outside "+api.EnvAppPath+", and not one that holds it")
	}
	for _, socket := range c.sockets {
		if socket.Port == c.port {
			r.Fault(api.EnvStingerListen, handover.Text(c.sockets), "ports other than "+api.EnvStingerPort, api.EnvStingerPort)
		}
	}
	if r.HTTPURL(api.EnvGitURL, "") == nil && c.gitURL == "" {
		r.Fault(api.EnvGitURL, "", "the repository's address, such as https://tanajura:24090/orders.git")
	}
	if c.auth == api.AuthNone && !isLoopback(c.bind) {
		r.Fault(envBind, c.bind, "127.0.0.1, ::1 or localhost where "+api.EnvStingerAuth+" is "+api.AuthNone+": anybody who reaches it may run code here", api.EnvStingerAuth)
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// useTLS makes the address of a devspace's hub one of TLS, which is all that it
// speaks: pods that an earlier version described name it by http.
func (c *config) useTLS() {
	u, err := url.Parse(c.gitURL)
	if err == nil && c.auth == api.AuthDevspace && u.Scheme == "http" && credential.IsHub(u.Hostname()) {
		u.Scheme = "https"
		c.gitURL = u.String()
	}
}

// isOfHub reports whether the repository is on the devspace's hub.
func (c config) isOfHub() bool {
	u, err := url.Parse(c.gitURL)
	return err == nil && c.auth == api.AuthDevspace && credential.IsHub(u.Hostname())
}

// authority returns the address of the hub that gives certificates: the one
// that has the repository, else the devspace's by its usual name.
func (c config) authority() string {
	if u, err := url.Parse(c.gitURL); err == nil && c.isOfHub() {
		return u.Scheme + "://" + u.Host
	}
	return fmt.Sprintf("https://%s:%d", api.HubName, api.HubServicePort)
}

// hub returns the hub's address, host:port; the settings are valid.
func (c config) hub() string {
	u, err := url.Parse(c.gitURL)
	if err != nil {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = u.Scheme // a service's name is as good as its number
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	return strings.HasPrefix(filepath.Clean(path)+"/", filepath.Clean(dir)+"/")
}

// isWritable reports whether a file can be made in the directory.
func isWritable(dir string) bool {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return false
	}
	f.Close()
	os.Remove(f.Name())
	return true
}
