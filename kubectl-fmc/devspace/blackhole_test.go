package devspace

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/testutil"
	"k8s.io/client-go/rest"
)

// TestForwarderOutOfABlackHole: a request whose connection has become a black
// hole ends with its context, however much of it is under way, and the next
// one goes on a connection of its own as soon as there can be one.
func TestForwarderOutOfABlackHole(t *testing.T) {
	for _, size := range []int{10, 20 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			server := newPortForwardServer(t, echo(t))
			r, err := testutil.OpenRoad(strings.TrimPrefix(server.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			f := NewForwarder(&rest.Config{Host: "http://" + r.Addr().String()}, "mine", FixedPod("tanajura-1", 3002))
			f.connectWithin = 300 * time.Millisecond
			client := &http.Client{Transport: f.Transport(nil)}
			defer f.Close()
			if _, err := post(client, "/a", "1"); err != nil {
				t.Fatal(err)
			}
			r.Swallow()
			for i := range 3 { // the first is on the old connection, the others want a new one
				within(t, fmt.Sprintf("request %d", i), func() {
					if err := postWithin(t, client, size, 500*time.Millisecond); err == nil {
						t.Error("a request passed through a black hole")
					}
				})
			}
			r.Open()
			eventually(t, "an answer on a new connection", func() bool {
				return postWithin(t, client, 10, 5*time.Second) == nil
			})
			within(t, "Close", func() { f.Close() })
		})
	}
}

func postWithin(t *testing.T, client *http.Client, size int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://any/", strings.NewReader(strings.Repeat("x", size)))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// within fails where do does not end.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { do(); close(done) }()
	select {
	case <-done:
	case <-time.After(ample):
		t.Fatalf("%s did not end", what)
	}
}
