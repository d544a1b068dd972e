package smarthttp_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/formicarium/formicarium/tanajura/hubtest"
)

// begin begins a request to the hub, of whose body it sends that much.
func begin(t *testing.T, h *hubtest.Hub, path, kind, body string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-%s-request\r\nContent-Length: 100000\r\n\r\n%s", path, kind, body)
	return conn
}

// Clients that are slow, or do not end, hold up their own repository at most,
// and that only until they are gone. What is more than may wait is told so.
func TestSlowClients(t *testing.T) {
	const most = 300 // requests for one repository
	h := hubtest.New(t)
	h.CreateRepository("orders")
	other := h.CreateRepository("other")
	w := newWorktree(t)
	head := w.commit("a.txt", "one\n")
	var slow []net.Conn
	for i := range most {
		if i%2 == 0 {
			slow = append(slow, begin(t, h, "/orders.git/git-receive-pack", "git-receive-pack", "00"))
		} else {
			slow = append(slow, begin(t, h, "/orders.git/git-upload-pack", "git-upload-pack", "00"))
		}
	}
	// One that comes before some of these waits with them, and counts as well.
	client := &http.Client{Timeout: time.Second}
	for deadline := time.Now().Add(30 * time.Second); ; {
		response, err := client.Post(h.RepositoryURL("orders")+"/git-receive-pack", "application/x-git-receive-pack-request", strings.NewReader("zzzz"))
		if err != nil && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode == http.StatusServiceUnavailable {
			if want := `repository "orders" has 300 git requests under way`; !strings.Contains(string(text), want) || response.Header.Get("Retry-After") == "" {
				t.Errorf("refused with %q, %v, want %q and when to try again", text, response.Header, want)
			}
			break
		}
		t.Fatalf("request %d is not refused: %d %s", most+1, response.StatusCode, text)
	}
	if n := len(processesIn(t, h.Dir)); n > 24 { // a fetch has one or two
		t.Errorf("%d slow requests have %d processes", most, n)
	}
	w.git("push", "-q", other, "main")
	if got := h.Head("other"); got != head {
		t.Errorf("the other repository has %q, want %q", got, head)
	}
	for _, conn := range slow {
		conn.Close()
	}
	w.git("push", "-q", h.RepositoryURL("orders"), "main")
	if got := h.Head("orders"); got != head {
		t.Errorf("once they are gone, the repository has %q, want %q", got, head)
	}
	settled(t, h, "orders")
}

// A devspace's pods may all ask at once, as when a hub comes back.
func TestManyFetchAtOnce(t *testing.T) {
	h := hubtest.New(t)
	url := h.CreateRepository("orders")
	w := newWorktree(t)
	w.commit("a.txt", "one\n")
	w.git("push", "-q", url, "main")
	var pods sync.WaitGroup
	for range 100 {
		pods.Go(func() {
			response, err := http.Get(url + "/info/refs?service=git-upload-pack")
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
				t.Errorf("status %d, %v: %s", response.StatusCode, err, text)
			}
		})
	}
	pods.Wait()
}

// A request's head has its bounds: of size, and of time, see run.Serve.
func TestHugeHeads(t *testing.T) {
	h := hubtest.New(t)
	h.CreateRepository("orders")
	huge := strings.Repeat("a", 2<<20)
	for name, head := range map[string]string{
		"one header":   "GET /orders.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: localhost\r\nX: " + huge + "\r\n\r\n",
		"many headers": "GET /orders.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: a\r\n", 300_000) + "\r\n",
		"a path":       "GET /" + huge + ".git/info/refs HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(conn, head) // which the hub does not read to its end
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s of 2 MiB: %+v, %v, want status 431", name, response, err)
		}
		conn.Close()
	}
}
