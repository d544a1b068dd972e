// Revproxy is httputil.ReverseProxy as a transparent proxy: what Go's standard
// library makes of a sidecar.
//
//	revproxy :14956
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"sync"
	"time"

	"github.com/formicarium/formicarium/bench/netra/peers/original"
	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("revproxy", revproxy)) }

// destinationKey is the context's key of where a connection was meant to go.
type destinationKey struct{}

func revproxy(ctx context.Context, args []string, _ func(string) string, _, _ io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("reading the arguments %q: want one, the address to listen on", args)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp4", args[0])
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{
		ErrorLog: quiet,
		Handler: &httputil.ReverseProxy{
			ErrorLog:   quiet,
			BufferPool: &buffers{},
			Rewrite:    rewrite,
			Transport: &http.Transport{
				DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				// As many as any test has clients; Go's default is two.
				MaxIdleConnsPerHost: 4096,
				IdleConnTimeout:     90 * time.Second,
				DisableCompression:  true,
			},
		},
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			destination, err := original.Destination(conn.(*net.TCPConn))
			if err != nil {
				return ctx
			}
			return context.WithValue(ctx, destinationKey{}, destination.String())
		},
	}
	return run.Serve(ctx, l, server, time.Second)
}

func rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme = "http"
	r.Out.URL.Host, _ = r.In.Context().Value(destinationKey{}).(string)
	r.Out.Host = r.In.Host
}

// buffers are what bodies are copied through: without a pool each answer takes
// 32 KiB anew.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
