package smarthttp_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// The real git clones, fetches and pushes, in both versions of the protocol.
func TestCloneFetchPush(t *testing.T) {
	for _, protocol := range []string{"0", "1", "2"} {
		t.Run("v"+protocol, func(t *testing.T) {
			h := hubtest.New(t)
			url := h.CreateRepository("orders")
			version := "protocol.version=" + protocol
			w := newWorktree(t)
			first := w.commit("a.txt", "one\n")
			w.git("-c", version, "push", "-q", url, "main")
			if got := h.Head("orders"); got != first {
				t.Fatalf("the hub has %q, want %q", got, first)
			}
			clone := worktree{t, filepath.Join(t.TempDir(), "clone")}
			newWorktree(t).git("-c", version, "clone", "-q", url, clone.dir)
			if branch := clone.git("branch", "--show-current"); branch != "main" {
				t.Errorf("the clone is on %q, want main", branch)
			}
			second := w.commit("dir/b.txt", "two\n")
			w.git("-c", version, "push", "-q", url, "main")
			clone.git("-c", version, "fetch", "-q", "origin")
			if got := clone.git("rev-parse", "origin/main"); got != second {
				t.Errorf("fetched %q, want %q", got, second)
			}
			clone.git("fsck", "--strict")
		})
	}
}

func TestForceDeleteAtomic(t *testing.T) {
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	w.commit("a.txt", "one\n")
	w.git("push", "-q", url, "main", "main:other", "main:refs/tags/v1")
	w.git("commit", "-q", "--amend", "-m", "rewritten")
	rewritten := w.git("rev-parse", "HEAD")

	if code, errs := w.try("push", url, "main"); code == 0 || !strings.Contains(errs, "rejected") {
		t.Errorf("a push that is no fast-forward: exit code %d, %s", code, errs)
	}
	// All or nothing: main could be forced, other is not what the client thinks.
	code, errs := w.try("push", "--atomic", "--force-with-lease=main", "--force-with-lease=other:"+rewritten, url, "main", "main:other")
	if code == 0 || h.Head("orders") == rewritten {
		t.Errorf("an atomic push of which one ref is refused: exit code %d, %s", code, errs)
	}
	w.git("push", "-q", "--force", "--atomic", url, "main", "main:other")
	if got := h.Head("orders"); got != rewritten {
		t.Errorf("after the forced push the hub has %q, want %q", got, rewritten)
	}
	w.git("push", "-q", url, ":main", ":other", ":refs/tags/v1")
	if got := w.git("ls-remote", url); got != "" || h.Head("orders") != "" {
		t.Errorf("after all refs are deleted there is still %q", got)
	}
}

func TestShallowAndPartial(t *testing.T) {
	for _, protocol := range []string{"0", "2"} {
		h := hubtest.New(t)
		url := h.CreateRepository("orders")
		w := newWorktree(t)
		for i := range 5 {
			w.commit("a.txt", fmt.Sprintf("version %d\n", i))
		}
		w.git("push", "-q", url, "main", "main:other")
		dir := t.TempDir()
		clone := func(name string, args ...string) worktree {
			c := worktree{t, filepath.Join(dir, name)}
			w.git(append([]string{"-c", "protocol.version=" + protocol, "clone", "-q", url, c.dir}, args...)...)
			return c
		}
		shallow := clone("shallow", "--depth=2", "--single-branch")
		if got := shallow.git("rev-list", "--count", "HEAD"); got != "2" {
			t.Errorf("v%s: a clone of depth 2 has %s commits", protocol, got)
		}
		shallow.git("fetch", "-q", "--unshallow")
		if got := shallow.git("rev-list", "--count", "HEAD"); got != "5" {
			t.Errorf("v%s: after --unshallow there are %s commits, want 5", protocol, got)
		}
		partial := clone("partial", "--filter=blob:none", "--no-checkout")
		if got := partial.git("rev-list", "--objects", "--all", "--missing=print"); !strings.Contains(got, "?") {
			t.Errorf("v%s: a clone without blobs has them all", protocol)
		}
		partial.git("checkout", "-q", "main") // fetches the missing blob, by its id
		// A Stinger asks for the commit that it was told of.
		exact := newWorktree(t)
		third := w.git("rev-parse", "HEAD~2")
		exact.git("-c", "protocol.version="+protocol, "fetch", "-q", "--depth=1", url, third)
		if got := exact.git("rev-parse", "FETCH_HEAD"); got != third {
			t.Errorf("v%s: fetched %q, want %q", protocol, got, third)
		}
	}
}

// Two pushes to one branch from one base: one wins, the other gets git's own
// refusal, and the repository is whole. Pushes to others go on meanwhile.
func TestConcurrentPushes(t *testing.T) {
	const clients = 6
	h := hubtest.New(t)
	shared := h.CreateRepository("shared")
	base := newWorktree(t)
	base.commit("a.txt", "base\n")
	base.git("push", "-q", shared, "main")
	var all sync.WaitGroup
	codes := make([]int, clients)
	heads := make([]string, clients)
	trees := make([]worktree, clients)
	for i := range clients {
		trees[i] = worktree{t, filepath.Join(t.TempDir(), "clone")}
		base.git("clone", "-q", shared, trees[i].dir)
		heads[i] = trees[i].commit(fmt.Sprintf("file%d.txt", i), "mine\n")
	}
	for i, w := range trees {
		own := h.CreateRepository(fmt.Sprintf("own-%d", i))
		all.Go(func() {
			var errs string
			if codes[i], errs = w.try("push", shared, "main"); codes[i] != 0 && !strings.Contains(errs, "rejected") {
				t.Errorf("the refusal reads %q", errs)
			}
		})
		all.Go(func() { w.git("push", "-q", own, "main") })
	}
	all.Wait()
	winner := -1
	for i, code := range codes {
		if code == 0 && winner >= 0 {
			t.Errorf("pushes %d and %d both won", winner, i)
		}
		if code == 0 {
			winner = i
		}
		if got := h.Head(fmt.Sprintf("own-%d", i)); got != heads[i] {
			t.Errorf("own repository %d has %q, want %q", i, got, heads[i])
		}
	}
	if winner < 0 || h.Head("shared") != heads[winner] {
		t.Errorf("the hub has %q; winner %d", h.Head("shared"), winner)
	}
	base.git("-C", filepath.Join(h.Dir, "shared.git"), "fsck", "--strict")
}

// stinger is a Stinger that answers every pull with what it was made with.
func stinger(t *testing.T, status int, answer any) (url string, requests chan api.PullRequest) {
	t.Helper()
	requests = make(chan api.PullRequest, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request api.PullRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.Method != http.MethodPost || r.URL.Path != "/pull" {
			t.Errorf("the Stinger was asked %s %s: %v", r.Method, r.URL, err)
		}
		requests <- request
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

func TestOutcomesAsText(t *testing.T) {
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	commit := w.commit("a.txt", "one\n")

	code, errs := w.try("push", url, "main")
	if want := "remote: no pod of orders is running yet: it will clone when it starts"; code != 0 || !strings.Contains(errs, want) {
		t.Errorf("without pods: exit code %d, %q, want %q", code, errs, want)
	}
	good, requests := stinger(t, http.StatusOK, api.PullResult{Commit: commit, PID: 17, Restarted: true})
	bad, _ := stinger(t, http.StatusOK, api.PullResult{Error: "building: exit status 2", Output: "main.go:3: \x1b[31msyntax error\nmake: *** 2\n"})
	h.SetStingers("orders", good, bad, "http://127.0.0.1:1")
	commit = w.commit("a.txt", "two\n")
	code, errs = w.try("push", url, "main")
	if code != 0 {
		t.Errorf("a push whose Stingers fail has exit code %d: %s", code, errs)
	}
	for _, want := range []string{
		"remote: " + strings.TrimPrefix(good, "http://") + "/orders: running ",
		"(pid 17, ",
		"/orders: failed: building: exit status 2 (",
		"remote:   main.go:3: ?[31msyntax error",
		"remote:   make: *** 2",
		"remote: 127.0.0.1:1/orders: not told: asking the Stinger: dial tcp",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("stderr lacks %q:\n%s", want, errs)
		}
	}
	if got := <-requests; got.Commit != commit {
		t.Errorf("the Stinger was told of %q, want %q", got.Commit, commit)
	}

	// What does not move the branch that pods run is nobody's business.
	w.git("push", "-q", url, "main:other")
	w.git("push", "-q", url, ":other")
	w.git("commit", "-q", "--amend", "-m", "again")
	if code, _ := w.try("push", url, "main"); code == 0 {
		t.Error("a push that is no fast-forward passed")
	}
	if len(requests) != 0 {
		t.Errorf("the Stinger was told of %v", <-requests)
	}
}

func TestOutcomesAsJSON(t *testing.T) {
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	output := strings.Repeat("a line of a build's output\n", 4000) // longer than one packet
	address, _ := stinger(t, http.StatusConflict, api.PullResult{Commit: "abc", Error: "building", Output: output})
	h.SetStingers("orders", address)
	first := w.commit("a.txt", "one\n")
	w.git("push", "-q", url, "main:base")
	none := strings.Repeat("0", 40)
	code, pack, errs := gitIn(t, w.dir, first+"\n", "pack-objects", "--revs", "--stdout", "-q")
	if code != 0 {
		t.Fatal(errs)
	}
	command := none + " " + first + " refs/heads/main\x00 report-status side-band-64k"
	body := fmt.Sprintf("%04x%s0000%s", len(command)+4, command, pack)
	request, err := http.NewRequest(http.MethodPost, url+"/git-receive-pack", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-git-receive-pack-request")
	request.Header.Set(api.HeaderOutcomes, api.OutcomesJSON)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(answer), "0000") || strings.HasSuffix(string(answer), "00000000") {
		t.Errorf("the answer ends in %q, want one flush-pkt", answer[len(answer)-10:])
	}
	var lines strings.Builder
	for rest := string(answer); len(rest) > 4; {
		var length int
		if _, err := fmt.Sscanf(rest[:4], "%04x", &length); err != nil {
			t.Fatalf("packet at %.20q: %v", rest, err)
		}
		if rest[4] == 2 {
			lines.WriteString(rest[5:length])
		}
		rest = rest[length:]
	}
	var outcome api.Outcome
	if err := json.Unmarshal([]byte(lines.String()), &outcome); err != nil {
		t.Fatalf("%v in %.200q", err, lines.String())
	}
	if outcome.Container != "orders" || outcome.Result.Error != "building" || outcome.Result.Output != output || outcome.Error != "" || outcome.Millis <= 0 {
		t.Errorf("the outcome is %.300v", outcome)
	}
}

// A client that does not read side-band-64k gets git's answer and no more.
func TestNoOutcomesWithoutSideBand(t *testing.T) {
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	address, requests := stinger(t, http.StatusOK, api.PullResult{PID: 1})
	h.SetStingers("orders", address)
	w := newWorktree(t)
	first := w.commit("a.txt", "one\n")
	_, pack, _ := gitIn(t, w.dir, first+"\n", "pack-objects", "--revs", "--stdout", "-q")
	command := strings.Repeat("0", 40) + " " + first + " refs/heads/main\x00 report-status"
	answer := post(t, url, fmt.Appendf(nil, "%04x%s0000%s", len(command)+4, command, pack))
	if want := "000eunpack ok\n0017ok refs/heads/main\n0000"; string(answer) != want {
		t.Errorf("the answer is %q, want %q", answer, want)
	}
	if got := <-requests; got.Commit != first {
		t.Errorf("the Stinger was told of %q", got.Commit)
	}
}

// Many saves leave a repository that answers as at first: few packs, and no
// loose objects. A collection runs beside nearly every push, and none fails.
func TestManyPushesStaySmall(t *testing.T) {
	const pushes = 120
	h := hubtest.NewWithLimits(t, hub.Limits{CollectEvery: 1})
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	last := w.fill(10, 10)
	w.git("push", "-q", url, "main")
	for i := range pushes {
		next := w.commit("d005/f005.txt", fmt.Sprint("save ", i))
		post(t, url, w.pushRequest(last, next))
		last = next
	}
	h.Close() // no collection runs from here on
	bare := filepath.Join(h.Dir, "orders.git")
	count := objectCount(w, bare)
	t.Logf("after %d pushes: %v", pushes, count)
	// Beside the packs of sizes that double, there are those of the pushes
	// while the last collection ran.
	if count["count"] > 0 || count["packs"] > 30 {
		t.Errorf("after %d pushes there are %d loose objects in %d packs", pushes, count["count"], count["packs"])
	}
	w.git("-C", bare, "fsck", "--strict", "--connectivity-only")
	if got := w.git("-C", bare, "rev-list", "--count", "main"); got != fmt.Sprint(pushes+1) {
		t.Errorf("the hub has %s commits, want %d", got, pushes+1)
	}
}

// A hub that has cut a repository's history serves it as before.
func TestShallowHub(t *testing.T) {
	for _, protocol := range []string{"0", "2"} {
		h := hubtest.New(t)
		url := h.CreateRepository("orders")
		w := newWorktree(t)
		for i := range 6 {
			w.commit("a.txt", fmt.Sprint("save ", i))
		}
		w.git("push", "-q", url, "main")
		version := "protocol.version=" + protocol
		before := worktree{t, filepath.Join(t.TempDir(), "before")}
		w.git("-c", version, "clone", "-q", url, before.dir)

		bare := filepath.Join(h.Dir, "orders.git")
		if err := os.WriteFile(filepath.Join(bare, "shallow"), []byte(w.git("rev-parse", "HEAD~2")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.git("-C", bare, "gc", "-q", "--prune=now")
		head := w.commit("a.txt", "save 7")
		w.git("-c", version, "push", "-q", url, "main")
		after := worktree{t, filepath.Join(t.TempDir(), "after")}
		w.git("-c", version, "clone", "-q", url, after.dir)
		if got := after.git("rev-list", "--count", "HEAD"); got != "4" {
			t.Errorf("v%s: a new clone has %s commits, want 4", protocol, got)
		}
		before.git("-c", version, "fetch", "-q", "origin")
		if got := before.git("rev-parse", "origin/main"); got != head {
			t.Errorf("v%s: an old clone fetched %q, want %q", protocol, got, head)
		}
		// Content that only the dropped history had is sent again.
		again := w.commit("a.txt", "save 0")
		w.git("-c", version, "push", "-q", url, "main")
		if got := h.Head("orders"); got != again {
			t.Errorf("v%s: the hub has %q, want %q", protocol, got, again)
		}
		w.git("-C", bare, "fsck", "--strict")
	}
}

// randomFile writes a file that cannot be packed smaller.
func randomFile(t *testing.T, path string, size int64) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := io.CopyN(file, rand.Reader, size); err != nil {
		t.Fatal(err)
	}
}
