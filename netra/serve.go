package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/netra/metrics"
	"github.com/formicarium/formicarium/netra/proxy"
	"github.com/formicarium/formicarium/netra/trace"
)

// Time limits.
const (
	// dialTimeout is how long a destination may take to accept; the kernel
	// would try for two minutes, clients rarely wait longer than this.
	dialTimeout = 10 * time.Second
	// flushTimeout is how long the last spans may take, at the end.
	flushTimeout = 3 * time.Second
	// spareProcessors is how many of Go's processors there are beside those of
	// the event loops, one for the exporter and one that is idle: where none is,
	// the runtime takes a loop's away 20 µs after it has begun to wait, and looks
	// every 20 µs for others, which at 1,000 requests a second was a third of all
	// that netra used.
	spareProcessors = 2
	// adminGrace is how long requests to the admin port may take at the end.
	adminGrace = time.Second
)

// serve is the program.
func serve(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	s, err := readSettings(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case s.showVersion:
		fmt.Fprintln(stdout, "netra", version.Long())
		return nil
	}
	logger, err := run.Logger(stderr, s.logLevel)
	if err != nil {
		return err
	}
	set := metrics.New(version.String())
	exporter, flush, err := s.newExporter(set, logger)
	if err != nil {
		return err
	}
	tracer := trace.New(s.trace, exporter, set)
	go tracer.Clean(ctx.Done())
	s.loops = proxy.DefaultLoops()
	if getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(s.loops + spareProcessors)
	}
	err = s.proxy(ctx, tracer, set, logger)

	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if flushErr := flush(flushing); flushErr != nil {
		logger.Warn("stopping the exporter", "error", flushErr)
	}
	return err
}

// proxy serves all ports until ctx ends and the proxy has drained.
func (s settings) proxy(ctx context.Context, tracer *trace.Tracer, set *metrics.Set, logger *slog.Logger) (err error) {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, port := range []int{s.inboundPort, s.outboundPort, s.adminPort} {
		l, err := proxy.Listen(ctx, port)
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
	}
	// The admin port is served until everything else has ended.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var servers sync.WaitGroup
	defer func() { stop(); servers.Wait() }()
	var ready atomic.Bool
	own := []uint16{uint16(s.inboundPort), uint16(s.outboundPort), uint16(s.adminPort)}
	servers.Go(func() {
		if err := run.Serve(serving, listeners[2], adminServer(admin(set, &ready, own...)), adminGrace); err != nil {
			logger.Warn("serving the admin port", "error", err)
		}
	})
	if s.pprofPort != 0 {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.pprofPort))
		if err != nil {
			return fmt.Errorf("listening for pprof: %w", err)
		}
		servers.Go(func() {
			if err := run.Serve(serving, l, adminServer(profiles()), adminGrace); err != nil {
				logger.Warn("serving pprof", "error", err)
			}
		})
	}
	var resolve func(context.Context, string) ([]netip.Addr, error)
	if s.trace.Routing.Header != "" {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	p, err := proxy.New(proxy.Settings{
		Destination: proxy.OriginalDestination,
		OwnPorts:    own,
		HTTPPorts:   s.httpPorts,
		DialTimeout: dialTimeout,
		Loops:       s.loops,
		Resolve:     resolve,
		Serving:     func() bool { return proxy.Listening(append(own, uint16(s.pprofPort))) },
		Logger:      logger,
	}, tracer, set)
	if err != nil {
		return fmt.Errorf("starting the proxy: %w", err)
	}
	logger.Info("serving", "version", version.String(), "service", s.serviceName, "exporter", s.exporter,
		"inbound", s.inboundPort, "outbound", s.outboundPort, "admin", s.adminPort)
	ready.Store(true) // all listeners are there: who comes now waits for Run at most
	stopReady := context.AfterFunc(ctx, func() { ready.Store(false) })
	defer stopReady()
	return p.Run(ctx, listeners[0], listeners[1], s.drainTimeout)
}
