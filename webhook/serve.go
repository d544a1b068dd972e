package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/webhook/certificate"
	"github.com/formicarium/formicarium/webhook/notice"
	"github.com/formicarium/formicarium/webhook/server"
)

// grace is how long reviews in flight may take once the server stops; the API
// server gives up on one after ten seconds.
const grace = 10 * time.Second

// serve is the program.
func serve(ctx context.Context, args []string, getenv func(string) string, _, stderr io.Writer) error {
	if len(args) > 0 {
		return &run.ExitError{Code: 2, Err: fmt.Errorf("unexpected argument %q: all settings are environment variables", args[0])}
	}
	c, err := configFrom(getenv)
	if err != nil {
		return fmt.Errorf("reading the settings:\n%w", err)
	}
	log, err := run.Logger(stderr, c.logLevel)
	if err != nil {
		return err
	}
	var api clients
	if api.kube, err = connect(c.kubeconfig); err != nil {
		return err
	}
	// A client has a limited rate, so what admissions wait for has one of its own.
	if api.events, err = connect(c.kubeconfig); err != nil {
		return err
	}
	if c.inject.NativeSidecar, err = native(c.native, api.kube.Discovery()); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(c.port)))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	return serveOn(ctx, listener, c, api, log)
}

// clients of the API server.
type clients struct{ kube, events kubernetes.Interface }

// serveOn serves until ctx ends and then as long as the stop delay says: the
// API server may go on sending until it has heard that this replica is gone.
func serveOn(ctx context.Context, listener net.Listener, c config, api clients, log *slog.Logger) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	namespaces, err := server.WatchNamespaces(serving, api.kube)
	if err != nil {
		return err
	}
	images, err := c.images.open(api.kube, log)
	if err != nil {
		return err
	}
	notices, err := notice.Start(serving, api.events)
	if err != nil {
		return err
	}
	serves := keep(serving, c, api.kube, log)
	handler := server.New(server.Options{
		Settings: c.inject, Namespaces: namespaces, Images: images, CertificateEnd: serves.End, Log: log,
		Notify: notices.Record, Collectors: []prometheus.Collector{notices.Collector()},
		Ready: func() error {
			if ctx.Err() != nil {
				return errors.New("stopping")
			}
			return errors.Join(serves.Ready(), namespaces.Ready())
		},
	})
	context.AfterFunc(ctx, func() {
		log.Info("stopping", "delay", c.stopDelay)
		time.AfterFunc(c.stopDelay, stop)
	})
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: serves.Get,
		NextProtos:     []string{"h2", "http/1.1"},
	}
	log.Info("serving", "address", listener.Addr().String(), "nativeSidecar", c.inject.NativeSidecar)
	return run.Serve(serving, tls.NewListener(listener, config), &http.Server{
		Handler: closing(ctx, handler), TLSConfig: config, IdleTimeout: 2 * time.Minute,
		// A review comes from within the cluster and is a few megabytes at
		// most; the API server waits ten seconds for its answer.
		ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}, grace)
}

// servingCertificate is one that may be another with each connection.
type servingCertificate interface {
	Get(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Ready() error
	End() time.Time
}

// keep returns the certificate in the directory that the settings name, else
// one that the webhook itself makes and renews until ctx ends.
func keep(ctx context.Context, c config, client kubernetes.Interface, log *slog.Logger) servingCertificate {
	if c.certDir != "" {
		return server.NewCertificate(c.certDir, log)
	}
	keeper := certificate.New(certificate.Options{Client: client, Life: c.certLife, Log: log})
	go keeper.Run(ctx)
	return keeper
}

// closing has each answer end its connection once ctx has ended. The API server
// keeps connections and would find out that this replica is gone by a review
// that fails.
func closing(ctx context.Context, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ctx.Err() != nil {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// connect returns a client of the cluster that the program runs in, or of the
// one that the kubeconfig file names.
func connect(kubeconfig string) (kubernetes.Interface, error) {
	rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	rest.UserAgent = "formicarium-webhook"
	// A rollout of many pods reads as many pull secrets; the library's own
	// limit (5 a second) would make their admissions wait.
	rest.QPS, rest.Burst = 100, 200
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return client, nil
}

// native decides whether netra is a native sidecar.
func native(setting string, server discovery.ServerVersionInterface) (bool, error) {
	if setting != "auto" {
		return setting == "true", nil
	}
	v, err := server.ServerVersion()
	if err != nil {
		return false, fmt.Errorf("asking the API server's version (NATIVE_SIDECAR=true or false does without): %w", err)
	}
	return hasNativeSidecars(v)
}

// hasNativeSidecars reports whether that version has sidecar containers without
// being asked for them, as 1.29 was the first to.
func hasNativeSidecars(v *version.Info) (bool, error) {
	major, err := strconv.Atoi(v.Major)
	// Some distributions write "29+".
	minor, minorErr := strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	if err := errors.Join(err, minorErr); err != nil {
		return false, fmt.Errorf("parsing the API server's version %s.%s (NATIVE_SIDECAR=true or false does without): %w", v.Major, v.Minor, err)
	}
	return major > 1 || major == 1 && minor >= 29, nil
}
