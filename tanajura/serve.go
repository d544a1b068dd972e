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
	if _, err := exec.LookPath("git"); err != nil {
		return fmt.Errorf("looking for git: %w", err)
	}
	h, err := hub.Open(cfg.dir, cfg.limits, log)
	if err != nil {
		return err
	}
	defer h.Close()
	// The watch outlives ctx: a push in flight at the end still tells.
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	var watch sync.WaitGroup
	defer watch.Wait()
	defer stop()
	stingers, err := findStingers(cfg, log)
	if err != nil {
		return err
	}
	teller := tell.New(stingers.find)
	greeter := tell.NewGreeter(teller, h.Head, log)
	if stingers.watch != nil {
		greet := func(service string, target tell.Target) { greeter.Greet(watching, service, target) }
		if err := stingers.onStart(greet); err != nil {
			return fmt.Errorf("watching pods: %w", err)
		}
		watch.Go(func() {
			stingers.watch(watching)
			greeter.Wait() // nobody starts any more
		})
	}
	listener, err := net.Listen("tcp", cfg.address())
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	log.Info("serving", "version", version.String(), "address", listener.Addr().String(), "dir", cfg.dir)
	return run.Serve(ctx, listener, &http.Server{
		Handler: server.New(server.Options{
			Hub:   h,
			Git:   smarthttp.New(h, smarthttp.Options{Teller: teller, Log: log}),
			Ready: stingers.ready,
			Log:   log,
		}),
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
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
func findStingers(cfg config, log *slog.Logger) (finder, error) {
	if cfg.static != nil || !cfg.inCluster {
		return finder{find: cfg.static.Targets}, nil
	}
	klog.SetSlogLogger(log) // client-go's own words
	settings, err := rest.InClusterConfig()
	if err != nil {
		return finder{}, fmt.Errorf("reading the pod's access to the cluster: %w", err)
	}
	client, err := kubernetes.NewForConfig(settings)
	if err != nil {
		return finder{}, fmt.Errorf("connecting to the cluster: %w", err)
	}
	pods, err := podwatch.New(client, cfg.namespace, log)
	if err != nil {
		return finder{}, fmt.Errorf("watching pods: %w", err)
	}
	return finder{find: pods.Targets, ready: pods.Ready, watch: pods.Run, onStart: pods.OnStart}, nil
}
