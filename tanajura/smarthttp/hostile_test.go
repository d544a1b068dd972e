package smarthttp_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// raw sends a request as it stands, which http.Client would not.
func raw(t *testing.T, h *hubtest.Hub, method, target string, headers ...string) (status, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", method, target, strings.Join(append(headers, ""), "\r\n"))
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	_, status, _ = strings.Cut(head, " ")
	return status[:3], body
}

func TestHostilePaths(t *testing.T) {
	h := hubtest.New(t)
	h.CreateRepository("orders")
	victim := filepath.Join(filepath.Dir(h.Dir), "victim.git")
	if err := os.CopyFS(victim, os.DirFS(filepath.Join(h.Dir, "orders.git"))); err != nil {
		t.Fatal(err)
	}
	list := func() (names []string) {
		for _, dir := range []string{h.Dir, filepath.Dir(h.Dir)} {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				names = append(names, entry.Name())
			}
		}
		return names
	}
	before := list()
	for _, name := range []string{
		"/../victim.git", "/%2e%2e/victim.git", "/..%2fvictim.git", "/orders.git/../../victim.git", "//victim.git", "/./orders.git",
		"/orders%00.git", "/orders.git.git", "/.git", "/.tmp.git", "/ORDERS.git", "/-orders.git", "/orders%2fx.git", "/nope.git",
		"/" + strings.Repeat("a", 64) + ".git", "/orders.git/objects", "/orders.git%2f..", "/%6frders%2egit%2f..%2f..%2fvictim.git",
	} {
		for _, request := range [][]string{
			{"GET", "/info/refs?service=git-receive-pack"},
			{"GET", "/info/refs?service=git-upload-pack"},
			{"POST", "/git-receive-pack", "Content-Type: application/x-git-receive-pack-request", "Content-Length: 4", "", "0000"},
			{"POST", "/git-upload-pack", "Content-Type: application/x-git-upload-pack-request", "Content-Length: 4", "", "0000"},
		} {
			status, body := raw(t, h, request[0], name+request[1], request[2:]...)
			if status[0] != '4' {
				t.Errorf("%s %s%s: %s %s", request[0], name, request[1], status, body)
			}
		}
	}
	if after := list(); !slices.Equal(after, before) {
		t.Errorf("on disk there were %v, and now %v", before, after)
	}
}

func TestRefusals(t *testing.T) {
	h := hubtest.New(t)
	h.CreateRepository("orders")
	const push = "Content-Type: application/x-git-receive-pack-request"
	for _, test := range []struct {
		method, path string
		headers      []string
		status, body string
	}{
		{"GET", "/orders.git/info/refs", nil, "403", "smart HTTP protocol only"},
		{"GET", "/orders.git/HEAD", nil, "403", "smart HTTP protocol only"},
		{"GET", "/orders.git/objects/info/packs", nil, "403", "smart HTTP protocol only"},
		{"GET", "/orders.git", nil, "404", "want /NAME.git/"},
		{"GET", "/orders.git/info/refs?service=git-upload-archive", nil, "403", `service "git-upload-archive" is not served`},
		{"POST", "/orders.git/info/refs?service=git-upload-pack", nil, "405", "want GET"},
		{"GET", "/orders.git/git-receive-pack", nil, "405", "want POST"},
		{"POST", "/orders.git/git-receive-pack", []string{"Content-Type: text/plain"}, "415", "want application/x-git-receive-pack-request"},
		{"GET", "/orders.git/info/refs?service=git-upload-pack", []string{"Git-Protocol: version=2\tLD_PRELOAD=x"}, "400", "Git-Protocol"},
		{"GET", "/orders.git/info/refs?service=git-upload-pack", []string{"Git-Protocol: " + strings.Repeat("a", 101)}, "400", "Git-Protocol"},
		{"POST", "/orders.git/git-receive-pack", []string{push, "Content-Encoding: br"}, "415", "want gzip or none"},
		{"POST", "/orders.git/git-receive-pack", []string{push, "Content-Encoding: gzip", "Content-Length: 3", "", "abc"}, "400", "not gzip"},
		{"POST", "/orders.git/git-receive-pack", []string{push, "Content-Length: 5", "", "00zz0"}, "400", `starts with "00zz"`},
		{"POST", "/orders.git/git-receive-pack", []string{push, "Content-Length: 8", "", "00100000"}, "400", "unexpected EOF"},
		{"POST", "/orders.git/git-receive-pack", []string{push, "Content-Length: 99999999999"}, "413", "a push (TANAJURA_MAX_PUSH) may have at most 1073741824 bytes"},
		{"POST", "/nope.git/git-receive-pack", []string{push}, "404", "POST /api/repositories"},
		{"GET", "/nope.git/info/refs?service=git-receive-pack", nil, "404", `"nope"`},
	} {
		status, body := raw(t, h, test.method, test.path, test.headers...)
		if status != test.status || !strings.Contains(body, test.body) {
			t.Errorf("%s %s %v: %s %q, want %s and %q", test.method, test.path, test.headers, status, body, test.status, test.body)
		}
	}
}

func TestPushToNowhereSaysWhatToDo(t *testing.T) {
	h := hubtest.New(t)
	w := newWorktree(t)
	w.commit("a.txt", "one\n")
	code, errs := w.try("push", h.RepositoryURL("nope"), "main")
	if want := "remote: repository \"nope\": there is no such repository; make it first: POST /api/repositories"; code == 0 || !strings.Contains(errs, want) {
		t.Errorf("exit code %d, %q, want %q", code, errs, want)
	}
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGzipBodies(t *testing.T) {
	h := hubtest.NewWithLimits(t, hub.Limits{Push: 1 << 20})
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	none := strings.Repeat("0", 40)
	first := w.commit("a.txt", "one\n")
	_, pack, _ := gitIn(t, w.dir, first+"\n", "pack-objects", "--revs", "--stdout", "-q")
	command := none + " " + first + " refs/heads/main\x00 report-status side-band-64k"
	body := fmt.Appendf(nil, "%04x%s0000%s", len(command)+4, command, pack)
	send := func(body []byte) (int, string) {
		t.Helper()
		request, err := http.NewRequest(http.MethodPost, url+"/git-receive-pack", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-git-receive-pack-request")
		request.Header.Set("Content-Encoding", "gzip")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(answer)
	}
	bomb := gzipped(t, append([]byte(fmt.Sprintf("%04x%s0000", len(command)+4, command)), make([]byte, 100<<20)...))
	if status, answer := send(bomb); status != http.StatusRequestEntityTooLarge && !strings.Contains(answer, "unpack") {
		t.Errorf("%d bytes that become 100 MiB: %d %q", len(bomb), status, answer)
	}
	if h.Head("orders") != "" {
		t.Error("the bomb has moved the branch")
	}
	if status, answer := send(gzipped(t, body)); status != http.StatusOK || h.Head("orders") != first {
		t.Errorf("a packed push: %d %q", status, answer)
	}
}

func TestPushOverTheLimit(t *testing.T) {
	h := hubtest.NewWithLimits(t, hub.Limits{Push: 2 << 20})
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	small := w.commit("a.txt", "one\n")
	w.git("push", "-q", url, "main")
	randomFile(t, filepath.Join(w.dir, "big"), 5<<20)
	w.commit("b.txt", "two\n")
	for _, buffer := range []string{"1", "100000000"} { // in chunks, and with its length told
		code, errs := w.try("-c", "http.postBuffer="+buffer, "push", url, "main")
		if code == 0 || !strings.Contains(errs, "413") && !strings.Contains(errs, "TANAJURA_MAX_PUSH") {
			t.Errorf("5 MiB of at most 2, buffer %s: exit code %d, %s", buffer, code, errs)
		}
	}
	if h.Head("orders") != small {
		t.Error("the push over the limit has moved the branch")
	}
	settled(t, h, "orders")
}

// Pushes that come at once, each small enough, do not together fill the disk.
func TestPushesAtOnceOverTheLimit(t *testing.T) {
	const pushes = 8
	limits := hub.Limits{Repository: 4 << 20, Push: 2 << 20}
	h := hubtest.NewWithLimits(t, limits)
	url := h.CreateRepository("orders")
	var all sync.WaitGroup
	var refused atomic.Int32
	for i := range pushes {
		w := newWorktree(t)
		randomFile(t, filepath.Join(w.dir, "big"), 19<<20/10)
		w.commit("a.txt", fmt.Sprint(i))
		all.Go(func() {
			code, errs := w.try("push", url, fmt.Sprint("main:b", i))
			if code == 0 {
				return
			}
			refused.Add(1)
			if !strings.Contains(errs, "413") && !strings.Contains(errs, "TANAJURA_MAX_REPOSITORY") {
				t.Errorf("the refusal reads %q", errs)
			}
		})
	}
	all.Wait()
	settled(t, h, "orders")
	size := int64(0)
	err := filepath.WalkDir(filepath.Join(h.Dir, "orders.git"), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		size += info.Size()
		return err
	})
	if most := limits.Repository + limits.Push + 1<<20; err != nil || size > most || refused.Load() == 0 || refused.Load() == pushes {
		t.Errorf("%d of %d pushes are refused, and the repository has %d bytes, %v, want at most %d", refused.Load(), pushes, size, err, most)
	}
}

// A big pack streams: what the hub's own process holds does not grow with it.
func TestBigPushIsFlat(t *testing.T) {
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	randomFile(t, filepath.Join(w.dir, "big"), 64<<20)
	head := w.commit("a.txt", "one\n")
	peak := watchHeap(t)
	w.git("push", "-q", url, "main")
	clone := filepath.Join(t.TempDir(), "clone")
	w.git("clone", "-q", url, clone)
	if grown := peak(); grown > 16<<20 {
		t.Errorf("a push and a clone of 64 MiB took %d MiB of heap", grown>>20)
	}
	if h.Head("orders") != head {
		t.Error("the push did not arrive")
	}
}

// watchHeap returns a function that returns by how much the heap grew at most.
func watchHeap(t *testing.T) (peak func() uint64) {
	t.Helper()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	base := heap()
	done, top := make(chan struct{}), make(chan uint64)
	go func() {
		highest := base
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				highest = max(highest, heap())
			case <-done:
				top <- highest
				return
			}
		}
	}()
	return func() uint64 {
		close(done)
		return <-top - base
	}
}

// A client that goes away in mid-push leaves no process, no garbage and the
// branch where it was.
func TestAbortedPush(t *testing.T) {
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	first := w.commit("a.txt", "one\n")
	w.git("push", "-q", url, "main")
	randomFile(t, filepath.Join(w.dir, "big"), 4<<20)
	second := w.commit("b.txt", "two\n")
	body := w.pushRequest(first, second)
	for _, cut := range []int{20, 200, len(body) / 2, len(body) - 1} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /orders.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: %d\r\n\r\n", len(body))
		if _, err := conn.Write(body[:cut]); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	settled(t, h, "orders")
	if got := h.Head("orders"); got != first {
		t.Errorf("the branch is at %q, want %q", got, first)
	}
	w.git("-C", filepath.Join(h.Dir, "orders.git"), "fsck", "--strict")
	w.git("push", "-q", url, "main")
	if got := h.Head("orders"); got != second {
		t.Errorf("after another push the branch is at %q, want %q", got, second)
	}
}

// A client that goes away in mid-clone takes the processes with it.
func TestAbortedFetch(t *testing.T) {
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	randomFile(t, filepath.Join(w.dir, "big"), 32<<20) // more than all buffers on the way hold
	head := w.commit("a.txt", "one\n")
	w.git("push", "-q", url, "main")
	want := "want " + head + " ofs-delta side-band-64k\n"
	body := fmt.Sprintf("%04x%s00000009done\n", len(want)+4, want)
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /orders.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-git-upload-pack-request\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if _, err := io.ReadFull(conn, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if len(processesIn(t, h.Dir)) == 0 {
		t.Error("git has sent the whole pack already; the test shows nothing")
	}
	conn.Close()
	settled(t, h, "orders")
}

// settled waits until no git process works in the hub's directory and checks
// that nothing temporary is left in the repository.
func settled(t *testing.T, h *hubtest.Hub, name string) {
	t.Helper()
	bare := filepath.Join(h.Dir, name+".git")
	var processes, garbage []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		processes, garbage = processesIn(t, h.Dir), nil
		for _, pattern := range []string{"objects/tmp_*", "objects/pack/tmp_*", "refs/heads/*.lock", "*.lock"} {
			found, err := filepath.Glob(filepath.Join(bare, pattern))
			if err != nil {
				t.Fatal(err)
			}
			garbage = append(garbage, found...)
		}
		if len(processes)+len(garbage) == 0 {
			return
		}
	}
	t.Errorf("still there after the client is gone: processes %v, files %v", processes, garbage)
}

// processesIn returns the command lines of processes that run in a directory
// or below.
func processesIn(t *testing.T, dir string) (found []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && (cwd == dir || strings.HasPrefix(cwd, dir+"/")) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
			found = append(found, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return found
}
