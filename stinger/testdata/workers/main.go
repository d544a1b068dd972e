// Workers is a service whose port is held by a child of it, as where a master
// has workers. The child ends at no signal but SIGKILL, and answers each
// connection with the version (a file beside it) and its user.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) == 1 {
		worker := exec.Command(os.Args[0], "worker")
		worker.Stdout, worker.Stderr = os.Stdout, os.Stderr
		must(worker.Start())
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		go func() {
			<-end
			os.Exit(0) // and leaves its worker alone
		}()
		must(worker.Wait())
		return
	}
	signal.Ignore(syscall.SIGTERM)
	version, err := os.ReadFile("version")
	must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	must(err)
	for {
		connection, err := listener.Accept()
		must(err)
		fmt.Fprintf(connection, "%s %d", strings.TrimSpace(string(version)), os.Getuid())
		connection.Close()
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
