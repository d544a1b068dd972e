package smarthttp_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/smarthttp"
)

// slowStingers build until they are released.
type slowStingers struct{ told, release chan struct{} }

func (s slowStingers) Tell(context.Context, string, string) <-chan api.Outcome {
	outcomes := make(chan api.Outcome)
	go func() {
		s.told <- struct{}{}
		<-s.release
		close(outcomes)
	}()
	return outcomes
}

// TestBuildsHoldNoPlace: while the pods build what many saves have brought, git
// still serves them, who may have to ask for it.
func TestBuildsHoldNoPlace(t *testing.T) {
	const places = 12 // for one repository
	h, err := hub.Open(t.TempDir(), hub.Limits{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	stingers := slowStingers{make(chan struct{}, places+1), make(chan struct{})}
	server := httptest.NewServer(smarthttp.New(h, smarthttp.Options{Teller: stingers, Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(server.Close)
	if _, err := h.Create("orders"); err != nil {
		t.Fatal(err)
	}
	path, err := h.Path("orders")
	if err != nil {
		t.Fatal(err)
	}
	url := server.URL + "/orders.git"
	w := newWorktree(t)
	last := w.commit("a/b", "first\n")
	w.git("push", "-q", path, "main")
	var saves sync.WaitGroup
	defer saves.Wait()
	defer close(stingers.release)
	for i := range places {
		next := w.commit("a/b", fmt.Sprintln(i))
		body := w.save(last, next, w.savePack(last, next))
		saves.Go(func() {
			response, err := http.Post(url+"/git-receive-pack", "application/x-git-receive-pack-request", bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
		})
		select {
		case <-stingers.told:
		case <-time.After(30 * time.Second):
			t.Fatalf("save %d is not told", i)
		}
		last = next
	}
	client := &http.Client{Timeout: 20 * time.Second}
	response, err := client.Get(url + "/info/refs?service=git-upload-pack")
	if err != nil {
		t.Fatalf("while pods build, a fetch fails: %v", err)
	}
	response.Body.Close()
}
