package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"sync"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/server"
	"github.com/formicarium/formicarium/tanajura/smarthttp"
	"github.com/formicarium/formicarium/tanajura/tell"
	"github.com/formicarium/formicarium/tanajura/tell/podwatch"
)

// serve runs the hub until ctx ends and requests in flight are done.
func serve(ctx context.Context, cfg config, log *slog.Logger) error {
	var client kubernetes.Interface
	if cfg.auth == authKubernetes {
		klog.SetSlogLogger(log) // client-go's own words
		settings, err := rest.InClusterConfig()
		if err != nil {
			return fmt.Errorf("reading the pod's access to the cluster: %w", err)
		}
		if client, err = kubernetes.NewForConfig(limited(settings)); err != nil {
			return fmt.Errorf("connecting to the cluster: %w", err)
		}
	}
	return serveWith(ctx, cfg, client, log)
}

// limited is the pod's access to the API server with limits of the hub's own: what
// strangers can make it ask is 50 reviews per second, which cost the API server
// some percent of a processor; and a devspace that is started asks 100 at once.
func limited(settings *rest.Config) *rest.Config {
	settings.QPS, settings.Burst = 50, 100
	return settings
}

// serveWith is serve with a client of the API server, which is nil where nobody is
// to be asked.
func serveWith(ctx context.Context, cfg config, client kubernetes.Interface, log *slog.Logger) error {
	if _, err := exec.LookPath("git"); err != nil {
		return fmt.Errorf("looking for git: %w", err)
	}
	h, err := hub.Open(cfg.dir, cfg.limits, log)
	if err != nil {
		return err
	}
	defer h.Close()
	// What goes on meanwhile outlives ctx: a push in flight at the end still tells.
	meanwhile, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	who, err := newSecurity(cfg, client, log)
	if err != nil {
		return err
	}
	running.Go(func() { who.run(meanwhile) })
	stingers, err := findStingers(cfg, client, log)
	if err != nil {
		return err
	}
	teller := who.teller(stingers.find)
	greeter := tell.NewGreeter(teller, h.Head, log)
	if stingers.watch != nil {
		greet := func(service string, target tell.Target) { greeter.Greet(meanwhile, service, target) }
		if err := stingers.onStart(greet); err != nil {
			return fmt.Errorf("watching pods: %w", err)
		}
		running.Go(func() {
			stingers.watch(meanwhile)
			greeter.Wait() // nobody starts any more
		})
	}
	listener, err := net.Listen("tcp", cfg.address())
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	log.Info("serving", "version", version.String(), "address", listener.Addr().String(), "auth", cfg.auth, "dir", cfg.dir)
	return run.Serve(ctx, who.secured(listener), &http.Server{
		Handler: server.New(server.Options{
			Hub:    h,
			Git:    smarthttp.New(h, smarthttp.Options{Teller: teller, Log: log}),
			Ready:  stingers.ready,
			Guard:  who.guard,
			Signer: who.keeper,
			Log:    log,
		}),
		// A token, and the few headers of git.
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}, cfg.grace)
}

// finder is a way of finding Stingers.
type finder struct {
	find  tell.Find
	ready func() error          // nil: always
	watch func(context.Context) // runs meanwhile; nil: nothing to run
	// onStart has a function called with each that has just started; nil as
	// watch is.
	onStart func(func(service string, target tell.Target)) error
}

// findStingers chooses the way: a list if there is one, else the cluster's
// pods, else none.
func findStingers(cfg config, client kubernetes.Interface, log *slog.Logger) (finder, error) {
	if cfg.static != nil || client == nil {
		return finder{find: cfg.static.Targets}, nil
	}
	pods, err := podwatch.New(client, cfg.namespace, log)
	if err != nil {
		return finder{}, fmt.Errorf("watching pods: %w", err)
	}
	return finder{find: pods.Targets, ready: pods.Ready, watch: pods.Run, onStart: pods.OnStart}, nil
}
