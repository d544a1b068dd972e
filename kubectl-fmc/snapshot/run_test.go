package snapshot_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/push"
)

// patience bounds how long a test waits for what must come.
const patience = 30 * time.Second

// running is a Run under test.
type running struct {
	t      *testing.T
	dir    string
	repo   *snapshot.Repo
	events chan snapshot.Event
}

func run(t *testing.T, dir, hubURL string, change func(*snapshot.Config)) *running {
	t.Helper()
	r := &running{t: t, dir: dir, repo: open(t, dir), events: make(chan snapshot.Event, 1000)}
	pusher := push.New(push.Config{BaseURL: hubURL, Name: "orders", Source: r.repo, Create: true})
	cfg := snapshot.Config{Repo: r.repo, Pusher: pusher, OnEvent: func(e snapshot.Event) { r.events <- e }}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- snapshot.Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return r
}

// await returns the first event that is good.
func (r *running) await(good func(snapshot.Event) bool) snapshot.Event {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-r.events:
			if good(e) {
				return e
			}
		case <-timeout:
			r.t.Fatal("the event did not come")
		}
	}
}

// awaitTree waits until the hub is said to hold the directory as it is.
func (r *running) awaitTree() snapshot.Event {
	r.t.Helper()
	want := gitTree(r.t, r.dir)
	return r.await(func(e snapshot.Event) bool { return e.Kind == snapshot.Synced && e.Snapshot.Tree.String() == want })
}

func TestRun(t *testing.T) {
	hubs(t, func(t *testing.T, h hub) {
		dir := t.TempDir()
		generate(t, dir, 60)
		r := run(t, dir, h.url, nil)
		e := r.awaitTree()
		checkHub(t, h, e.Push, e.Snapshot)

		write(t, filepath.Join(dir, nameOf(3)), "edited")
		e = r.awaitTree()
		checkHub(t, h, e.Push, e.Snapshot)
		if tm := e.Timings; tm.Changed.IsZero() || tm.Total < tm.Snapshot+tm.Push || tm.Watch <= 0 {
			t.Errorf("timings = %+v", tm)
		}
		rename(t, filepath.Join(dir, "src"), filepath.Join(dir, "lib"))
		r.awaitTree()
		for i := range 300 {
			write(t, filepath.Join(dir, fmt.Sprintf("burst/%d/%d", i%10, i)), "x")
		}
		r.awaitTree()
		remove(t, filepath.Join(dir, "burst"))
		write(t, filepath.Join(dir, ".gitignore"), "*.go\n")
		e = r.awaitTree()
		checkHub(t, h, e.Push, e.Snapshot)
	})
}

// TestOutage: while the hub cannot be reached, changes are kept, and sent when
// it can be; an answer that was lost is asked for.
func TestOutage(t *testing.T) {
	isolate(t)
	h := newHub(t)
	target, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	var state atomic.Int32 // 0: open, 1: cut before, 2: cut after the hub has acted
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(resp *http.Response) error {
		if state.Load() == 2 && resp.Request.Method == http.MethodPost {
			io.Copy(io.Discard, resp.Body)
			return fmt.Errorf("cut off")
		}
		return nil
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if state.Load() == 1 {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	dir := t.TempDir()
	generate(t, dir, 20)
	r := run(t, dir, front.URL, nil)
	r.awaitTree()
	for _, cut := range []int32{1, 2} {
		state.Store(cut)
		write(t, filepath.Join(dir, "a"), fmt.Sprint("first ", cut))
		if e := r.await(func(e snapshot.Event) bool { return e.Kind == snapshot.Failed }); e.RetryIn <= 0 || e.Err == nil {
			t.Errorf("event = %+v", e)
		}
		remove(t, filepath.Join(dir, nameOf(int(cut))))
		if cut == 1 {
			write(t, filepath.Join(dir, "b"), "second")
		}
		r.await(func(e snapshot.Event) bool { return e.Kind == snapshot.Failed })
		state.Store(0)
		e := r.awaitTree()
		if head := git(t, h.repository("orders"), nil, "rev-parse", "main^{tree}"); head != e.Snapshot.Tree.String() {
			t.Errorf("the hub has the tree %s, want %s", head, e.Snapshot.Tree)
		}
	}
}

// TestIdleChecks: a hub that is lost while nothing changes is refilled, and
// one that somebody else pushed to is left alone.
func TestIdleChecks(t *testing.T) {
	hubs(t, func(t *testing.T, h hub) {
		dir := t.TempDir()
		generate(t, dir, 20)
		wake := make(chan struct{})
		r := run(t, dir, h.url, func(c *snapshot.Config) { c.CheckEvery, c.Wake = -1, wake })
		r.awaitTree()
		wake <- struct{}{} // finds nothing to do
		// All at once: that check may still look, and would make the repository
		// anew while it is being removed.
		rename(t, h.repository("orders"), filepath.Join(t.TempDir(), "lost"))
		wake <- struct{}{}
		e := r.awaitTree()
		checkHub(t, h, e.Push, e.Snapshot)
		if !e.Push.Created {
			t.Errorf("push = %+v, want a new repository", e.Push)
		}

		theirs := t.TempDir()
		write(t, filepath.Join(theirs, "a"), "theirs")
		other := open(t, theirs)
		over := pushTree(t, newPusher(h, other), take(t, other))
		wake <- struct{}{}
		wake <- struct{}{}
		if e := r.await(func(e snapshot.Event) bool { return e.Kind != snapshot.Failed }); e.Kind != snapshot.Replaced || e.Head != over.Commit {
			t.Errorf("event = %+v, want Replaced by %s", e, over.Commit)
		}
		if head := git(t, h.repository("orders"), nil, "rev-parse", "main"); head != over.Commit.String() {
			t.Errorf("the hub's head is %s: it was pushed over", head)
		}
		write(t, filepath.Join(dir, "mine"), "mine")
		e = r.awaitTree()
		checkHub(t, h, e.Push, e.Snapshot)
	})
}

// TestUnreadableWhileRunning: the failure is told, and what came with it is
// synced once the cause is gone.
func TestUnreadableWhileRunning(t *testing.T) {
	isolate(t)
	h := newHub(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a")
	r := run(t, dir, h.url, func(c *snapshot.Config) {
		c.Repo.OnOpen(func(path string) error {
			if strings.HasSuffix(path, "secret") {
				return os.ErrPermission
			}
			return nil
		})
	})
	r.awaitTree()
	write(t, filepath.Join(dir, "sub/secret"), "s")
	write(t, filepath.Join(dir, "b"), "b")
	e := r.await(func(e snapshot.Event) bool { return e.Kind == snapshot.Failed })
	if !strings.Contains(e.Err.Error(), `"sub/secret"`) {
		t.Errorf("error = %v, want one that names the file", e.Err)
	}
	remove(t, filepath.Join(dir, "sub"))
	r.awaitTree()
}

// TestDamagedObjects: a cache whose objects are no more what they were is
// found out and made anew.
func TestDamagedObjects(t *testing.T) {
	isolate(t)
	dir, cache := t.TempDir(), t.TempDir()
	generate(t, dir, 40)
	repo := openWith(t, dir, cache)
	take(t, repo)
	where := repo.CacheDir()
	repo.Close()
	for _, name := range glob(t, filepath.Join(where, "*.objects")) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 100; i < len(content); i += 1000 {
			content[i] ^= 1
		}
		write(t, name, string(content))
	}
	h := newHub(t)
	r := run(t, dir, h.url, func(c *snapshot.Config) {
		c.Repo = openWith(t, dir, cache)
		c.Pusher = newPusher(h, c.Repo)
	})
	e := r.awaitTree()
	checkHub(t, h, e.Push, e.Snapshot)
}

// TestManyEdits: old objects are dropped, and nothing that is still needed.
func TestManyEdits(t *testing.T) {
	isolate(t)
	dir, cache := t.TempDir(), t.TempDir()
	h := newHub(t)
	write(t, filepath.Join(dir, "keep"), "kept")
	for i := range 40 { // each run has a file of its own in the cache
		write(t, filepath.Join(dir, "a"), fmt.Sprint(i))
		repo := openWith(t, dir, cache)
		snap := take(t, repo)
		result := pushTree(t, newPusher(h, repo), snap)
		if i == 39 {
			checkHub(t, h, result, snap)
			if files := glob(t, filepath.Join(repo.CacheDir(), "*.objects")); len(files) > 33 {
				t.Errorf("the cache has come to consist of %d files", len(files))
			}
		}
		repo.Close()
	}
}
