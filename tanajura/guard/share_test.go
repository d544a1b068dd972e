package guard_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/tanajura/guard/guardtest"
	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// TestOnePodKeepsNobodyOut: a pod that fills the hub with requests that do not end,
// and strangers beside it, keep out neither the other pods nor the developer.
func TestOnePodKeepsNobodyOut(t *testing.T) {
	const requests = 200
	h := hubtest.NewSecure(t, "mine")
	h.CreateRepository("orders")
	bad := h.Cluster.PodToken("mine", "orders-1", "1")
	// The pod has had its token renewed, and uses both.
	clients := []*http.Client{h.Client(bad), h.Client(h.Cluster.PodToken("mine", "orders-1", "1"))}
	for _, client := range clients { // known from here on: here strangers have the same address
		response, err := client.Get(h.URL + fetchRefs)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}

	var bodies []*io.PipeWriter
	refusals := make(chan string, requests)
	ended := make(chan struct{}, requests)
	for i := range requests {
		read, write := io.Pipe()
		bodies = append(bodies, write)
		go func() {
			defer func() { ended <- struct{}{} }()
			response, err := clients[i%2].Post(h.URL+"/orders.git/git-upload-pack", "application/x-git-upload-pack-request", read)
			if err != nil {
				return // cut off in mid-request, below
			}
			defer response.Body.Close()
			if text, err := io.ReadAll(response.Body); err == nil && response.StatusCode == http.StatusServiceUnavailable {
				refusals <- string(text)
			}
		}()
	}
	for range requests - 8 { // the rest hang
		select {
		case said := <-refusals:
			if !strings.Contains(said, "pod orders-1 has 8 requests under way, the most that this hub takes from one pod") {
				t.Fatalf("the pod is told %q", said)
			}
		case <-time.After(time.Minute):
			t.Fatal("waited in vain for a refusal")
		}
	}
	for name, c := range map[string]struct{ token, path string }{
		"another pod":   {h.Cluster.PodToken("mine", "orders-2", "2"), fetchRefs},
		"the developer": {h.Cluster.DeveloperToken("mine"), pushRefs},
	} {
		if response, text := ask(t, h, c.token, "GET", c.path, ""); response.StatusCode != http.StatusOK {
			t.Errorf("%s is answered %d %s", name, response.StatusCode, text)
		}
	}
	if response, text := ask(t, h, bad, "GET", fetchRefs, ""); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the pod itself is answered %d %s", response.StatusCode, text)
	}
	if response, text := ask(t, h, guardtest.Forge("formicarium.io/devspace/mine", time.Now().Add(time.Hour)), "GET", fetchRefs, ""); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger is answered %d %s", response.StatusCode, text)
	}

	for _, body := range bodies {
		body.CloseWithError(io.ErrUnexpectedEOF)
	}
	for range requests {
		<-ended
	}
	// The hub sees the end of each a little later.
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		response, text := ask(t, h, bad, "GET", fetchRefs, "")
		if response.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("when they have ended the pod is answered %d %s", response.StatusCode, text)
		}
	}
}
