// App is the application behind the benchmark's sidecars.
//
//	app -listen :8080 -sink 127.0.0.1:6831
//
//	GET /            1 KiB
//	GET /bytes?n=N   N bytes
//	GET /sink        how many datagrams have come to the UDP sink, which stands
//	                 in for a tracing agent
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("app", app)) }

func app(ctx context.Context, args []string, _ func(string) string, _, stderr io.Writer) error {
	flags := flag.NewFlagSet("app", flag.ContinueOnError)
	flags.SetOutput(stderr)
	address := flags.String("listen", ":8080", "the HTTP `address`")
	sinkAddress := flags.String("sink", "127.0.0.1:6831", "the UDP `address`")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	listener, err := config.Listen(ctx, "tcp4", *address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	sink, err := config.ListenPacket(ctx, "udp4", *sinkAddress)
	if err != nil {
		return fmt.Errorf("listening for datagrams: %w", err)
	}
	var datagrams atomic.Int64
	go swallow(sink, &datagrams)
	server := &http.Server{Handler: handler(&datagrams), ErrorLog: log.New(io.Discard, "", 0)}
	return run.Serve(ctx, listener, server, time.Second)
}

func swallow(sink net.PacketConn, count *atomic.Int64) {
	buffer := make([]byte, 64<<10)
	for {
		if _, _, err := sink.ReadFrom(buffer); err != nil {
			return
		}
		count.Add(1)
	}
}

// maxBytes bounds /bytes: 1 GiB.
const maxBytes = 1 << 30

func handler(datagrams *atomic.Int64) http.Handler {
	kibibyte := bytes.Repeat([]byte("0123456789abcdef"), 64)
	block := bytes.Repeat(kibibyte, 64)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		// Set without the canonical form's cost: this is most of the bed's load.
		w.Header()["Content-Type"] = []string{"text/plain"}
		w.Header()["Content-Length"] = []string{"1024"}
		_, _ = w.Write(kibibyte) // a client that has gone is none of ours
	})
	mux.HandleFunc("GET /bytes", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("n"))
		if err != nil || n < 0 || n > maxBytes {
			http.Error(w, "n: want a number of bytes up to 1073741824", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(n))
		for n > 0 {
			written, err := w.Write(block[:min(n, len(block))])
			if err != nil {
				return // the client has gone
			}
			n -= written
		}
	})
	mux.HandleFunc("GET /sink", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, datagrams.Load())
	})
	return mux
}
