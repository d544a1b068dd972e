// Splice is the plain transparent TCP proxy in Go: for each connection one more
// to where it was meant to go, and io.Copy both ways, which the standard library
// turns into splice(2). It knows no HTTP. What it costs is what any proxy in Go
// written in the usual way costs at the least, so it imports no more than it
// takes.
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
)

func main() {
	if err := splice(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "splice:", err)
		os.Exit(1)
	}
}

// dialTimeout is netra's.
const dialTimeout = 10 * time.Second

// splice serves until the process is killed.
func splice(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("reading the arguments %q: want one, the address to listen on", args)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), "tcp4", args[0])
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			time.Sleep(5 * time.Millisecond) // no descriptor is left; one will be
			continue
		}
		go relay(conn.(*net.TCPConn))
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
		// A fault shows in the other direction, too.
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
		close(sent)
	}()
	_, _ = io.Copy(client, server)
	_ = client.CloseWrite()
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
