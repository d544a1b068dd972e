// Listener is a service that takes its socket from whoever started it, answers
// each connection with its process id and version (a file beside it), and ends
// at SIGTERM when all that it has taken are answered.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "2" || os.Getenv("LISTEN_FDNAMES") != "http:admin" {
		fmt.Fprintln(os.Stderr, "the sockets are not for this process:", os.Getpid(), os.Environ())
		os.Exit(1)
	}
	version, err := os.ReadFile("version")
	must(err)
	var serving sync.WaitGroup
	var listeners []*net.TCPListener
	for fd := uintptr(3); fd < 5; fd++ {
		listener, err := net.FileListener(os.NewFile(fd, "socket"))
		must(err)
		tcp := listener.(*net.TCPListener)
		listeners = append(listeners, tcp)
		serving.Go(func() { serve(tcp, &serving, string(version)) })
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	for _, listener := range listeners {
		must(listener.SetDeadline(time.Unix(1, 0)))
	}
	serving.Wait()
	if os.Getenv("SHUT") != "" { // as some runtimes do with every socket
		raw, err := listeners[0].SyscallConn()
		must(err)
		must(raw.Control(func(fd uintptr) { must(syscall.Shutdown(int(fd), syscall.SHUT_RDWR)) }))
	}
}

func serve(listener *net.TCPListener, serving *sync.WaitGroup, version string) {
	for {
		connection, err := listener.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		must(err)
		serving.Go(func() {
			time.Sleep(time.Millisecond)
			fmt.Fprintf(connection, "%d %s", os.Getpid(), version)
			connection.Close()
		})
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
