package tell

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// A Stinger that does not listen yet is told when it does, and to run the tip.
func TestGreet(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	requests := make(chan api.PullRequest, 10)
	stinger := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request api.PullRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.URL.Path != "/pull" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		requests <- request
		json.NewEncoder(w).Encode(api.PullResult{Commit: "1"})
	}))
	g := NewGreeter(New(nil), func(string) (string, error) { return "1", nil }, slog.New(slog.DiscardHandler))
	refused, up := make(chan struct{}, greetTries), make(chan struct{})
	g.stingers.client.Transport = watched{g.stingers.client.Transport, refused, up}
	g.pause = 10 * time.Millisecond
	g.Greet(t.Context(), "orders", Target{Pod: "orders-1", Container: "app", URL: "http://" + address})
	<-refused
	stinger.Listener.Close()
	if stinger.Listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	stinger.Start()
	defer stinger.Close()
	close(up)
	g.Wait()
	select {
	case r := <-requests:
		if r != (api.PullRequest{}) {
			t.Errorf("asked for %+v, want the tip", r)
		}
	default:
		t.Error("it was not told")
	}
	if len(requests) != 0 {
		t.Error("it was told again after it had answered")
	}
}

// watched tells of requests that failed, and gives the error when up is closed.
type watched struct {
	http.RoundTripper
	failed chan<- struct{}
	up     <-chan struct{}
}

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.RoundTripper.RoundTrip(r)
	if err != nil {
		w.failed <- struct{}{}
		<-w.up
	}
	return response, err
}

func TestGreetWithNothingToTell(t *testing.T) {
	stinger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was told") }))
	defer stinger.Close()
	for _, err := range []error{nil, errors.New("no repository")} {
		g := NewGreeter(New(nil), func(string) (string, error) { return "", err }, slog.New(slog.DiscardHandler))
		g.Greet(context.Background(), "orders", Target{URL: stinger.URL})
		g.Wait()
	}
}
