// Package gittest runs a hub that is git itself (git http-backend) on a
// loopback port, for tests.
//
//	hub := gittest.New(t)
//	hub.Write("main.go", "package main\n", 0o644)
//	commit := hub.Commit()
//	… hub.URL …
//
// The hub starts processes: it does not go together, in one process, with
// supervise.Adopt.
package gittest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Hub is one repository and the server in front of it.
type Hub struct {
	URL  string // of the repository
	Dir  string // of the bare repository
	Work string // the working tree that Commit takes

	t       testing.TB
	backend string // git's own CGI program
	server  *httptest.Server
	begin   func(*httptest.Server) // how it serves

	mu       sync.Mutex
	requests []Request
	down     bool
	hold     chan struct{}
}

// Request is one that the hub has answered.
type Request struct {
	Path          string
	Bytes         int // of the answer's body
	Authorization string
}

// New starts a hub with an empty repository; it ends with the test.
func New(t testing.TB) *Hub {
	t.Helper()
	dir := t.TempDir()
	h := &Hub{Dir: filepath.Join(dir, "svc.git"), Work: filepath.Join(dir, "work"), t: t}
	if err := os.Mkdir(h.Work, 0o755); err != nil {
		t.Fatal(err)
	}
	h.backend = filepath.Join(h.run("", "git", "--exec-path"), "git-http-backend")
	h.run("", "git", "init", "-q", "--bare", "-b", "main", h.Dir)
	h.begin = func(s *httptest.Server) {
		s.Config.Handler = http.HandlerFunc(h.serve)
		s.Start()
	}
	h.server = httptest.NewUnstartedServer(nil)
	h.begin(h.server)
	t.Cleanup(func() { h.server.Close() })
	h.URL = h.server.URL + "/svc.git"
	return h
}

func (h *Hub) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	down, hold := h.down, h.hold
	h.mu.Unlock()
	if hold != nil && r.Method == http.MethodPost {
		<-hold
	}
	if down {
		http.Error(w, "the hub is down", http.StatusServiceUnavailable)
		return
	}
	backend := &cgi.Handler{
		Path: h.backend,
		Env:  []string{"GIT_PROJECT_ROOT=" + filepath.Dir(h.Dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + h.Work},
		// Only what went wrong would be there.
		Stderr: io.Discard,
	}
	counted := &counter{ResponseWriter: w}
	backend.ServeHTTP(counted, r)
	h.mu.Lock()
	h.requests = append(h.requests, Request{r.URL.Path, counted.n, r.Header.Get("Authorization")})
	h.mu.Unlock()
}

// Down makes the hub refuse requests, or serve them again.
func (h *Hub) Down(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
}

// Unplug closes the hub's port, and every connection to it, until the returned
// function is called.
func (h *Hub) Unplug() (plug func()) {
	address := h.server.Listener.Addr().(*net.TCPAddr)
	h.server.CloseClientConnections()
	h.server.Close()
	// A socket that is bound and does not listen: it refuses, and keeps the
	// port from everybody else.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	h.must(err)
	socket := os.NewFile(uintptr(fd), "unplugged")
	syscall.CloseOnExec(fd)
	h.must(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	h.must(syscall.Bind(fd, &syscall.SockaddrInet4{Port: address.Port, Addr: [4]byte(address.IP.To4())}))
	return func() {
		defer socket.Close()
		h.must(syscall.Listen(fd, 128))
		listener, err := net.FileListener(socket)
		h.must(err)
		h.server = httptest.NewUnstartedServer(nil)
		h.server.Listener.Close()
		h.server.Listener = listener
		h.begin(h.server)
	}
}

// Hold makes packs wait until the returned function is called.
func (h *Hub) Hold() (release func()) {
	gate := make(chan struct{})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold = gate
	return sync.OnceFunc(func() {
		h.mu.Lock()
		h.hold = nil
		h.mu.Unlock()
		close(gate)
	})
}

// Requests returns what was answered since the last call.
func (h *Hub) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	requests := h.requests
	h.requests = nil
	return requests
}

// Write puts a file into the working tree, in place of whatever is there.
func (h *Hub) Write(path, content string, mode os.FileMode) {
	h.t.Helper()
	full := filepath.Join(h.Work, path)
	_ = os.Remove(full)
	h.must(os.MkdirAll(filepath.Dir(full), 0o755))
	h.must(os.WriteFile(full, []byte(content), mode))
	h.must(os.Chmod(full, mode)) // whatever the umask
}

// Link puts a symbolic link into the working tree.
func (h *Hub) Link(path, target string) {
	h.t.Helper()
	full := filepath.Join(h.Work, path)
	_ = os.Remove(full)
	h.must(os.MkdirAll(filepath.Dir(full), 0o755))
	h.must(os.Symlink(target, full))
}

// Remove removes a file or directory from the working tree.
func (h *Hub) Remove(path string) {
	h.t.Helper()
	h.must(os.RemoveAll(filepath.Join(h.Work, path)))
}

// Commit makes the working tree the tip of the branch and returns the commit.
func (h *Hub) Commit() string {
	h.t.Helper()
	h.run("", "git", "--git-dir", h.Dir, "--work-tree", h.Work, "add", "-A", "-f", ".")
	return h.CommitTree(h.run("", "git", "--git-dir", h.Dir, "write-tree"))
}

// CommitTree makes a commit of the tree the tip of the branch.
func (h *Hub) CommitTree(tree string) string {
	h.t.Helper()
	args := []string{"git", "--git-dir", h.Dir, "commit-tree", "-m", "snapshot", tree}
	if head := h.Head(); head != "" {
		args = append(args, "-p", head)
	}
	commit := h.run("", args...)
	h.run("", "git", "--git-dir", h.Dir, "update-ref", "refs/heads/main", commit)
	return commit
}

// Head returns the tip of the branch; "" where there is none.
func (h *Hub) Head() string {
	h.t.Helper()
	return h.run("", "git", "--git-dir", h.Dir, "for-each-ref", "--format=%(objectname)", "refs/heads/main")
}

// Blob writes a blob and returns its id.
func (h *Hub) Blob(content string) string {
	h.t.Helper()
	return h.run(content, "git", "--git-dir", h.Dir, "hash-object", "-w", "--stdin")
}

// Entry is one of a tree that git itself would not make.
type Entry struct{ Mode, Name, ID string }

// Tree writes a tree object as it is given, without any check.
func (h *Hub) Tree(entries ...Entry) string {
	h.t.Helper()
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e.Mode + " " + e.Name + "\x00")
		for i := 0; i < len(e.ID); i += 2 {
			b.WriteByte(hexDigit(e.ID[i])<<4 | hexDigit(e.ID[i+1]))
		}
	}
	return h.run(b.String(), "git", "--git-dir", h.Dir, "hash-object", "-t", "tree", "-w", "--literally", "--stdin")
}

// Git runs git on the repository and returns its output.
func (h *Hub) Git(args ...string) string {
	h.t.Helper()
	return h.run("", append([]string{"git", "--git-dir", h.Dir}, args...)...)
}

func (h *Hub) run(stdin string, argv ...string) string {
	h.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	// Of the caller's git nothing counts: not its settings, not its identity.
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func (h *Hub) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func hexDigit(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

type counter struct {
	http.ResponseWriter
	n int
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n += n
	return n, err
}
