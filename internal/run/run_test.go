package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   int
		stderr string
	}{
		{nil, 0, ""},
		{errors.New("no luck"), 1, "fmc: no luck\n"},
		{&ExitError{Code: 3}, 3, ""},
		{fmt.Errorf("running: %w", &ExitError{Code: 4, Err: errors.New("no luck")}), 4, "fmc: no luck\n"},
	} {
		var stderr bytes.Buffer
		if code := ExitCode("fmc", c.err, &stderr); code != c.code || stderr.String() != c.stderr {
			t.Errorf("ExitCode(%v) = %d, %q; want %d, %q", c.err, code, stderr.String(), c.code, c.stderr)
		}
	}
}

// A request in flight when the context ends is answered in full.
func TestServeFinishesRequestsInFlight(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	arrived, release := make(chan struct{}), make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, "done")
	})}
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, listener, server, time.Minute) }()

	answered := make(chan string, 1)
	go func() {
		response, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answered <- string(body)
	}()
	<-arrived
	stop()
	close(release)
	if got := <-answered; got != "done" {
		t.Errorf("the request in flight got %q, want %q", got, "done")
	}
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := Serve(t.Context(), listener, &http.Server{}, time.Second); err == nil {
		t.Error("Serve on a closed listener = nil, want an error")
	}
}

func TestLoggerRefusesUnknownLevels(t *testing.T) {
	if _, err := Logger(io.Discard, "loud"); err == nil {
		t.Error(`Logger("loud") = nil error`)
	}
}
