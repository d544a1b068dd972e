package server_test

import (
	"net/http"
	"testing"

	"github.com/formicarium/formicarium/tanajura/hub"
)

// TestOtherHosts: a hub that asks nobody who he is answers who calls it by a name
// of this machine: a web page whose own name leads here since a moment ago may
// send anything.
func TestOtherHosts(t *testing.T) {
	f := newFixture(t, hub.Limits{})
	for host, want := range map[string]int{
		"127.0.0.1:3002": 200, "localhost": 200, "LOCALHOST:3002": 200, "[::1]:3002": 200, "::1": 200, "hub.localhost": 200,
		"evil.example": 403, "evil.example:3002": 403, "127.0.0.1.evil.example": 403, "10.0.0.1": 403, "localhost.evil.example": 403,
	} {
		for _, path := range []string{"/api/repositories", "/orders.git/info/refs?service=git-upload-pack"} {
			request, err := http.NewRequest("GET", f.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Host = host
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if got := response.StatusCode; got != want {
				t.Errorf("%s by the name %s: status %d, want %d", path, host, got, want)
			}
		}
	}
}
