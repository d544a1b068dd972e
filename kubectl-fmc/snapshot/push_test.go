package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/push"
	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// hub is a hub that tests push to.
type hub struct {
	url string
	dir string // of its repositories
}

func (h hub) repository(name string) string { return filepath.Join(h.dir, name+".git") }

// newHub starts a Tanajura.
func newHub(t testing.TB) hub {
	h := hubtest.New(t)
	return hub{h.URL, h.Dir}
}

// newGitHub starts git's own server, and creates repositories as a hub does.
func newGitHub(t testing.TB) hub {
	t.Helper()
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	h := hub{dir: t.TempDir()}
	backend := &cgi.Handler{
		Path: path, Args: []string{"http-backend"},
		Env: []string{"GIT_PROJECT_ROOT=" + h.dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=test", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + h.dir},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/repositories", func(w http.ResponseWriter, r *http.Request) {
		git(t, h.dir, nil, "init", "-q", "--bare", "--initial-branch=main", "orders.git")
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		// A CGI program gets no length of a chunked body; git needs none.
		backend.ServeHTTP(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func newPusher(h hub, repo *snapshot.Repo) *push.Pusher {
	return push.New(push.Config{BaseURL: h.url, Name: "orders", Source: repo, Create: true})
}

func pushTree(t testing.TB, p *push.Pusher, snap snapshot.Snapshot) push.Result {
	t.Helper()
	result, err := p.Push(context.Background(), snap.Tree)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// checkHub fails the test unless the hub's branch holds the snapshot, whole
// and well-formed.
func checkHub(t testing.TB, h hub, result push.Result, snap snapshot.Snapshot) {
	t.Helper()
	bare := h.repository("orders")
	if got := git(t, bare, nil, "rev-parse", "refs/heads/main", "refs/heads/main^{tree}"); got != result.Commit.String()+"\n"+snap.Tree.String() {
		t.Errorf("the hub has commit and tree\n%s\nwant\n%s\n%s", got, result.Commit, snap.Tree)
	}
	git(t, bare, nil, "fsck", "--strict", "--full", "--no-dangling")
}

// hubs runs a test with both kinds of hub.
func hubs(t *testing.T, test func(t *testing.T, h hub)) {
	t.Run("tanajura", func(t *testing.T) { isolate(t); test(t, newHub(t)) })
	t.Run("git http-backend", func(t *testing.T) { isolate(t); test(t, newGitHub(t)) })
}

func TestPush(t *testing.T) {
	hubs(t, func(t *testing.T, h hub) {
		dir := t.TempDir()
		generate(t, dir, 100)
		repo := open(t, dir)
		pusher := newPusher(h, repo)
		snap := take(t, repo)
		first := pushTree(t, pusher, snap)
		checkHub(t, h, first, snap)
		if !first.Created || first.Objects < 100 {
			t.Errorf("first push: created %v, %d objects", first.Created, first.Objects)
		}

		write(t, filepath.Join(dir, nameOf(5)), "edited")
		snap = takePaths(t, repo, nameOf(5))
		second := pushTree(t, pusher, snap)
		checkHub(t, h, second, snap)
		// The file, its three directories and the root, the commit.
		if second.Objects != 6 || second.Commit != snap.Commit {
			t.Errorf("an edit: %d objects, commit %s, want 6, %s", second.Objects, second.Commit, snap.Commit)
		}
		if parent := git(t, h.repository("orders"), nil, "rev-parse", "main^"); parent != first.Commit.String() {
			t.Errorf("parent = %s, want the first commit %s", parent, first.Commit)
		}
		if again := pushTree(t, pusher, snap); !again.UpToDate || again.Commit != second.Commit {
			t.Errorf("pushing the same again: %+v", again)
		}

		remove(t, filepath.Join(dir, "src/p00/q01"))
		rename(t, filepath.Join(dir, "src/p00/q02"), filepath.Join(dir, "moved"))
		snap = takePaths(t, repo, "src/p00/q01", "src/p00/q02", "moved")
		checkHub(t, h, pushTree(t, pusher, snap), snap)
		compareArchive(t, h, dir)
	})
}

// compareArchive compares what the hub gives out with the directory.
func compareArchive(t *testing.T, h hub, dir string) {
	t.Helper()
	out := t.TempDir()
	tar := exec.Command("tar", "-x", "-C", out)
	tar.Stdin = strings.NewReader(git(t, h.repository("orders"), nil, "archive", "main") + "\n")
	if text, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, text)
	}
	if text, err := exec.Command("diff", "-r", "--no-dereference", dir, out).CombinedOutput(); err != nil {
		t.Errorf("the hub's files differ:\n%s", text)
	}
}

// TestNextRun: a later run pushes upon what an earlier one pushed, without
// asking; even where the earlier one was killed.
func TestNextRun(t *testing.T) {
	hubs(t, func(t *testing.T, h hub) {
		dir, cache := t.TempDir(), t.TempDir()
		generate(t, dir, 40)
		repo := openWith(t, dir, cache)
		pusher := newPusher(h, repo)
		pushTree(t, pusher, take(t, repo))
		write(t, filepath.Join(dir, nameOf(1)), "before the end")
		pushTree(t, pusher, takePaths(t, repo, nameOf(1)))

		repo = openWith(t, dir, cache) // the first was not closed
		write(t, filepath.Join(dir, nameOf(2)), "after it")
		snap := take(t, repo)
		result := pushTree(t, newPusher(h, repo), snap)
		checkHub(t, h, result, snap)
		if result.Objects != 6 || result.Commit != snap.Commit {
			t.Errorf("%d objects, commit %s, want 6, %s", result.Objects, result.Commit, snap.Commit)
		}
		repo = openWith(t, dir, cache)
		if result := pushTree(t, newPusher(h, repo), take(t, repo)); !result.UpToDate {
			t.Errorf("a run without a change: %+v, want UpToDate", result)
		}
	})
}

// TestLostHub: a hub that has lost everything gets everything.
func TestLostHub(t *testing.T) {
	hubs(t, func(t *testing.T, h hub) {
		dir := t.TempDir()
		generate(t, dir, 40)
		repo := open(t, dir)
		pusher := newPusher(h, repo)
		pushTree(t, pusher, take(t, repo))
		// Its disk is gone, say: the same address, and no repository.
		remove(t, h.repository("orders"))
		write(t, filepath.Join(dir, nameOf(1)), "after the loss")
		snap := takePaths(t, repo, nameOf(1))
		result := pushTree(t, pusher, snap)
		checkHub(t, h, result, snap)
		if !result.Created || git(t, h.repository("orders"), nil, "rev-list", "--count", "main") != "1" {
			t.Errorf("%+v, want a new repository with one commit", result)
		}
	})
}

// TestRefilledHub: where another laptop pushed meanwhile, the next push goes on
// top of that.
func TestRefilledHub(t *testing.T) {
	hubs(t, func(t *testing.T, h hub) {
		mine, theirs := t.TempDir(), t.TempDir()
		generate(t, mine, 40)
		generate(t, theirs, 50)
		repo, other := open(t, mine), open(t, theirs)
		pusher := newPusher(h, repo)
		pushTree(t, pusher, take(t, repo))
		over := pushTree(t, newPusher(h, other), take(t, other))
		write(t, filepath.Join(mine, "x"), "x")
		snap := takePaths(t, repo, "x")
		result := pushTree(t, pusher, snap)
		checkHub(t, h, result, snap)
		if parent := git(t, h.repository("orders"), nil, "rev-parse", "main^"); parent != over.Commit.String() {
			t.Errorf("parent = %s, want the other laptop's commit %s", parent, over.Commit)
		}
	})
}

// TestTwoProcesses: of two that sync the same directory, the second finds that
// the first has done it.
func TestTwoProcesses(t *testing.T) {
	isolate(t)
	h, dir, cache := newHub(t), t.TempDir(), t.TempDir()
	generate(t, dir, 40)
	one, two := openWith(t, dir, cache), openWith(t, dir, cache)
	first, second := newPusher(h, one), newPusher(h, two)
	pushTree(t, first, take(t, one))
	pushTree(t, second, take(t, two))
	write(t, filepath.Join(dir, nameOf(1)), "edited")
	pushTree(t, first, takePaths(t, one, nameOf(1)))
	if result := pushTree(t, second, takePaths(t, two, nameOf(1))); !result.UpToDate {
		t.Errorf("the second sent %d objects, want none", result.Objects)
	}
}

// TestHubLostObjects: a hub that claims a commit of which it lacks objects
// gets everything.
func TestHubLostObjects(t *testing.T) {
	hubs(t, func(t *testing.T, h hub) {
		dir := t.TempDir()
		generate(t, dir, 3)
		repo := open(t, dir)
		pusher := newPusher(h, repo)
		first := take(t, repo)
		pushTree(t, pusher, first)
		id := git(t, h.repository("orders"), nil, "rev-parse", "main:"+nameOf(0))
		for _, pack := range glob(t, filepath.Join(h.repository("orders"), "objects/pack/*.pack")) {
			unpack(t, h.repository("orders"), pack)
		}
		remove(t, filepath.Join(h.repository("orders"), "objects", id[:2], id[2:]))
		write(t, filepath.Join(dir, "x"), "x")
		snap := takePaths(t, repo, "x")
		result, err := pusher.Push(context.Background(), snap.Tree)
		if err != nil {
			var refused *push.RejectedError
			if errors.As(err, &refused) {
				t.Fatalf("refused although everything was sent: %v", err)
			}
			t.Fatal(err)
		}
		if result.Objects > 6 {
			checkHub(t, h, result, snap)
		}
	})
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// unpack turns a pack of a repository into loose objects.
func unpack(t *testing.T, bare, pack string) {
	t.Helper()
	content, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range glob(t, strings.TrimSuffix(pack, ".pack")+".*") {
		remove(t, name)
	}
	cmd := exec.Command("git", "-C", bare, "unpack-objects", "-q")
	cmd.Stdin = bytes.NewReader(content)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git unpack-objects: %v\n%s", err, text)
	}
}

// TestOutcomes: what the hub says beside its report reaches the caller, as
// data where it is data, however it is cut into packets.
func TestOutcomes(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a")
	repo := open(t, dir)
	line := `{"pod":"orders-1","container":"app","result":{"commit":"c","tree":"t","pid":17,"timings":{}},"ms":3}`
	var asked string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, packet("# service=git-receive-pack\n")+"0000"+packet(strings.Repeat("0", 40)+" capabilities^{}\x00report-status\n")+"0000")
			return
		}
		asked = r.Header.Get(api.HeaderOutcomes)
		io.Copy(io.Discard, r.Body)
		report := packet("unpack ok\n") + packet("ok refs/heads/main\n") + "0000"
		fmt.Fprint(w, packet("\x02collec")+packet("\x02ting\n"+line[:20])+packet("\x02"+line[20:]+"\n")+
			packet("\x02")+packet("\x01"+report[:7])+packet("\x01"+report[7:])+packet("\x02bye")+"0000")
	}))
	t.Cleanup(server.Close)
	var heard []api.Outcome
	pusher := push.New(push.Config{BaseURL: server.URL + "/", Name: "orders", Source: repo, OnOutcome: func(o api.Outcome) { heard = append(heard, o) }})
	result := pushTree(t, pusher, take(t, repo))
	if asked != api.OutcomesJSON || len(result.Outcomes) != 1 || len(heard) != 1 || result.Outcomes[0].Result.PID != 17 {
		t.Errorf("asked for %q, outcomes %+v, heard %+v", asked, result.Outcomes, heard)
	}
	if strings.Join(result.Messages, "|") != "collecting|bye" {
		t.Errorf("messages = %q", result.Messages)
	}
}

func packet(payload string) string { return fmt.Sprintf("%04x%s", len(payload)+4, payload) }

// TestPushErrors: what a hub may answer instead of doing it.
func TestPushErrors(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a")
	repo := open(t, dir)
	snap := take(t, repo)
	refs := packet("# service=git-receive-pack\n") + "0000" + packet(strings.Repeat("0", 40)+" capabilities^{}\x00report-status\n") + "0000"
	for name, test := range map[string]struct {
		status       int
		refs, answer string
		want         string
	}{
		"no repository":    {status: 404, want: "the hub has no such repository"},
		"too large":        {status: 413, answer: `{"error":"the pack has more than 5 bytes"}`, refs: refs, want: "413: the pack has more than 5 bytes"},
		"no git":           {status: 200, refs: "<html>", want: "malformed packet length"},
		"another service":  {status: 200, refs: packet("hello"), want: "not a git repository's answer"},
		"refused":          {status: 200, refs: refs, answer: packet("\x01"+packet("unpack ok\n")+packet("ng refs/heads/main hook declined\n")+"0000") + "0000", want: "refused the push: hook declined"},
		"disk full":        {status: 200, refs: refs, answer: packet("\x01"+packet("unpack write error: no space\n")+"0000") + "0000", want: "unpacking: write error: no space"},
		"fatal":            {status: 200, refs: refs, answer: packet("\x03it broke\n") + "0000", want: "refused the push: it broke"},
		"cut short":        {status: 200, refs: refs, answer: packet("\x02half")[:6], want: "reading the hub's answer"},
		"without a report": {status: 200, refs: refs, answer: "0000", want: "ended without a report"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if r.Method == http.MethodGet && test.refs != "" {
					fmt.Fprint(w, test.refs)
					return
				}
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.answer)
			}))
			defer server.Close()
			pusher := push.New(push.Config{BaseURL: server.URL, Name: "orders", Source: repo})
			_, err := pusher.Push(context.Background(), snap.Tree)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want one with %q", err, test.want)
			}
			if test.status == 404 && !errors.Is(err, push.ErrNoRepository) {
				t.Errorf("error = %v, want ErrNoRepository", err)
			}
		})
	}
}

// TestUntouched: nothing changes in the user's repository, not even a time.
func TestUntouched(t *testing.T) {
	hubs(t, func(t *testing.T, h hub) {
		dir := t.TempDir()
		git(t, dir, nil, "init", "-q")
		generate(t, dir, 10)
		write(t, filepath.Join(dir, ".git/hooks/post-commit"), "#!/bin/sh\ntouch "+dir+"/ran\n")
		if err := os.Chmod(filepath.Join(dir, ".git/hooks/post-commit"), 0o755); err != nil {
			t.Fatal(err)
		}
		git(t, dir, nil, "config", "commit.gpgSign", "true")
		git(t, dir, nil, "add", "src")
		write(t, filepath.Join(dir, nameOf(1)), "dirty")
		before := fingerprint(t, dir)
		repo := open(t, dir)
		pusher := newPusher(h, repo)
		snap := take(t, repo)
		checkHub(t, h, pushTree(t, pusher, snap), snap)
		if after := fingerprint(t, dir); after != before {
			t.Error("something in the directory or its repository has changed")
		}
		log := git(t, h.repository("orders"), nil, "log", "-1", "--format=%an <%ae> %cn <%ce>%n%s", "main")
		want := "formicarium <snapshot@formicarium.io> formicarium <snapshot@formicarium.io>\n" +
			"orders: 10 files changed: src/p00/q00/file00000.go, src/p00/q00/file00001.go, src/p00/q00/file00002.go, …"
		if log != want {
			t.Errorf("log =\n%s\nwant\n%s", log, want)
		}
	})
}

// TestLargeFile: a large file goes through as a stream.
func TestLargeFile(t *testing.T) {
	hubs(t, func(t *testing.T, h hub) {
		dir := t.TempDir()
		large := bytes.Repeat([]byte("0123456789abcdef"), 9<<16) // 9 MiB: above the limit for memory
		write(t, filepath.Join(dir, "large"), string(large))
		repo := open(t, dir)
		snap := take(t, repo)
		if want := gitTree(t, dir); snap.Tree.String() != want {
			t.Errorf("tree = %s, git's is %s", snap.Tree, want)
		}
		checkHub(t, h, pushTree(t, newPusher(h, repo), snap), snap)
	})
}
