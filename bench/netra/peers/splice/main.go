// Splice is the plain transparent TCP proxy in Go: for each connection one more
// to where it was meant to go, and io.Copy both ways, which the standard library
// turns into splice(2). It knows no HTTP. What it costs is what any proxy in Go
// written in the usual way costs at the least.
//
//	splice :14956
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/formicarium/formicarium/bench/netra/peers/original"
	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("splice", splice)) }

// dialTimeout is netra's.
const dialTimeout = 10 * time.Second

func splice(ctx context.Context, args []string, _ func(string) string, _, _ io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("reading the arguments %q: want one, the address to listen on", args)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp4", args[0])
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	context.AfterFunc(ctx, func() { l.Close() })
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			time.Sleep(5 * time.Millisecond) // no descriptor is left; one will be
		default:
			go relay(conn.(*net.TCPConn))
		}
	}
}

func relay(client *net.TCPConn) {
	defer client.Close()
	server, err := dial(client)
	if err != nil {
		client.SetLinger(0)
		return
	}
	defer server.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		pass(server, client)
	}()
	pass(client, server)
	<-sent
}

func dial(client *net.TCPConn) (*net.TCPConn, error) {
	destination, err := original.Destination(client)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("tcp4", destination.String(), dialTimeout)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// pass copies one direction, and its end. After a fault nothing can be said to
// either end but that.
func pass(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	to.CloseWrite()
}
