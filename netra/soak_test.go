package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// soakTime is how long TestSoak puts netra under load; SOAK_TIME changes it.
const soakTime = 12 * time.Second

// How much more memory netra may have at the end than after the first third, in
// bytes. On the heap that is what its tables (peers, route names, request ids)
// may still gather; of resident memory it is what the runtime keeps of the
// highest load that there happened to be. A leak of a kilobyte for each
// connection is more than either.
const (
	heapSlack     = 1 << 20
	residentSlack = 8 << 20
)

// TestSoak drives netra in a pod with all that clients do to it, well behaved or
// not, in three rounds. After each it waits until nothing is open: descriptors
// must be as many as before, and memory must not have grown since the first.
func TestSoak(t *testing.T) {
	length := soakTime
	if v := os.Getenv("SOAK_TIME"); v != "" {
		var err error
		if length, err = time.ParseDuration(v); err != nil || length <= 0 {
			t.Fatalf("SOAK_TIME: %q is not allowed: a duration above 0", v)
		}
	}
	pod, peer := podAndPeer(t)
	netra := startProcess(t, pod, []string{build(t)}, "JAEGER_SERVICE_NAME=orders", "JAEGER_ENDPOINT=http://"+peerV4+":14268/api/traces", "NETRA_PPROF_PORT=14957")
	spans := newCollector(t, peer)
	capture(t, pod)
	servers := startSoakServers(pod, peer)
	// The exporter's connection is part of what there is when nothing happens.
	if err := newSoakClient(peer, podV4+":8080").get(clientIn(peer), "/small", "small"); err != nil {
		t.Fatal(err)
	}
	spans.named(t, "GET /small")
	baseline := netra.quiet(t, 0)
	var heap, resident [3]int
	for round := range resident {
		done := soak(t, pod, peer, length/3)
		if fds := netra.quiet(t, baseline); fds > baseline {
			t.Errorf("round %d: %d descriptors, %d before", round, fds, baseline)
		}
		heap[round], resident[round] = netra.memory(t)
		t.Logf("round %d: %s; heap %d KiB, resident %d KiB", round, done, heap[round]>>10, resident[round]>>10)
	}
	if grown := heap[2] - heap[0]; grown > heapSlack {
		t.Errorf("the heap has grown by %d KiB since the first third", grown>>10)
	}
	if grown := resident[2] - resident[0]; grown > residentSlack {
		t.Errorf("resident memory has grown by %d KiB since the first third", grown>>10)
	}
	servers()
	if err := netra.stop(); err != nil {
		t.Errorf("netra ended with %v", err)
	}
}

// largeBlocks is how many blocks of 64 KiB a large answer has: more than the
// sockets on the way take.
const largeBlocks = 48

// startSoakServers starts an application in the pod, and the same outside.
func startSoakServers(pod, peer netns) (stop func()) {
	mux := http.NewServeMux()
	mux.HandleFunc("/small", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "small")
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 1<<16)
		for range largeBlocks {
			if _, err := w.Write(block); err != nil {
				return // the client has gone
			}
		}
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, _ *http.Request) {
		for i := range 20 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/chat", serveWebSocket)
	var servers []*http.Server
	for _, n := range []netns{pod, peer} {
		s := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
		go s.Serve(n.listen(":8080"))
		servers = append(servers, s)
	}
	return func() {
		for _, s := range servers {
			s.Close()
		}
	}
}

// behaviours are what clients do. Each is done by one client at a time, in both
// directions, until the time is over.
var behaviours = map[string]func(soakClient) error{
	"keep-alive": func(c soakClient) error { return c.get(c.kept, "/small", "small") },
	"new connection": func(c soakClient) error {
		defer c.fresh.CloseIdleConnections()
		return c.get(c.fresh, "/small", "small")
	},
	"http/2": func(c soakClient) error { return c.get(c.http2, "/small", "small") },
	"large":  func(c soakClient) error { return c.get(c.kept, "/large", "") },
	"events": func(c soakClient) error { return c.get(c.kept, "/events", "") },
	"reset in a download": func(c soakClient) error {
		return c.raw("GET /large HTTP/1.1\r\nHost: a\r\n\r\n", func(conn *net.TCPConn) error {
			_, err := io.CopyN(io.Discard, conn, 100_000)
			conn.SetLinger(0)
			return err
		})
	},
	"left in a download": func(c soakClient) error {
		return c.raw("GET /large HTTP/1.1\r\nHost: a\r\n\r\n", func(conn *net.TCPConn) error {
			_, err := io.CopyN(io.Discard, conn, 10)
			return err
		})
	},
	"half-close": func(c soakClient) error {
		return c.raw("GET /large HTTP/1.0\r\nHost: a\r\n\r\n", func(conn *net.TCPConn) error {
			conn.CloseWrite()
			n, err := io.Copy(io.Discard, conn)
			if err == nil && n < largeBlocks<<16 {
				err = fmt.Errorf("%d bytes only", n)
			}
			return err
		})
	},
	"half a head": func(c soakClient) error {
		return c.raw("GET /small HTTP/1.1\r\nHost: a\r\nX-", func(*net.TCPConn) error { return nil })
	},
	"slow reader": func(c soakClient) error {
		return c.raw("GET /large HTTP/1.0\r\n\r\n", func(conn *net.TCPConn) error {
			conn.SetReadBuffer(4 << 10)
			for range 20 {
				if _, err := io.CopyN(io.Discard, conn, 50_000); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
			return nil
		})
	},
	"websocket": func(c soakClient) error {
		return c.raw(handshake+textFrame+closeFrame, func(conn *net.TCPConn) error {
			in := bufio.NewReader(conn)
			if _, err := http.ReadResponse(in, nil); err != nil {
				return err
			}
			rest, err := io.ReadAll(in)
			if err == nil && string(rest) != textAnswer+goodbye {
				err = fmt.Errorf("the frames are %q", rest)
			}
			return err
		})
	},
	"not http": func(c soakClient) error {
		return c.raw("\x00\x01\x02 of another protocol, longer than a preface\r\n\r\n", func(conn *net.TCPConn) error {
			_, err := io.Copy(io.Discard, conn) // the server's refusal
			return err
		})
	},
	"nobody listens": func(c soakClient) error {
		conn, err := c.from.dial(strings.Replace(c.to, ":8080", ":9", 1))
		if err == nil {
			conn.SetDeadline(time.Now().Add(patience))
			io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
			io.Copy(io.Discard, conn) // until netra resets it
			conn.Close()
		}
		return nil
	},
}

// soakClient is a client of one of the two servers.
type soakClient struct {
	from               netns
	to                 string
	kept, fresh, http2 *http.Client
}

func newSoakClient(from netns, to string) soakClient {
	c := soakClient{from: from, to: to, kept: clientIn(from), fresh: clientIn(from), http2: clientIn(from)}
	c.kept.Transport.(*http.Transport).DisableKeepAlives = false
	h2 := c.http2.Transport.(*http.Transport)
	h2.DisableKeepAlives = false
	h2.Protocols = new(http.Protocols)
	h2.Protocols.SetUnencryptedHTTP2(true)
	return c
}

func (c soakClient) close() {
	for _, client := range []*http.Client{c.kept, c.fresh, c.http2} {
		client.CloseIdleConnections()
	}
}

// get sends a request and expects an answer; an empty one is any.
func (c soakClient) get(client *http.Client, path, want string) error {
	answer, err := client.Get("http://" + c.to + path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && (want != "" && string(body) != want || len(body) == 0) {
		err = fmt.Errorf("the answer is %.40q", body)
	}
	return err
}

// raw opens a connection, sends this and acts.
func (c soakClient) raw(first string, act func(*net.TCPConn) error) error {
	conn, err := c.from.dial(c.to)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, first); err != nil {
		return err
	}
	return act(conn.(*net.TCPConn))
}

// soak lets clients behave for some time and reports how often each did.
func soak(t *testing.T, pod, peer netns, length time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var clients sync.WaitGroup
	var mu sync.Mutex
	times, faults := map[string]int{}, []error{}
	for name, behave := range behaviours {
		for _, c := range []soakClient{newSoakClient(peer, podV4+":8080"), newSoakClient(pod, peerV4+":8080")} {
			clients.Go(func() {
				defer c.close()
				for n := 0; ; n++ {
					if ctx.Err() != nil {
						return
					}
					err := behave(c)
					mu.Lock()
					times[name]++
					if err != nil {
						faults = append(faults, fmt.Errorf("%s to %s: %w", name, c.to, err))
					}
					mu.Unlock()
					time.Sleep(rand.N(2 * time.Millisecond))
				}
			})
		}
	}
	clients.Wait()
	if len(faults) > 0 {
		t.Errorf("%d failures: %v", len(faults), errors.Join(faults[:min(5, len(faults))]...))
	}
	for name := range behaviours {
		if times[name] == 0 {
			t.Errorf("%s never happened", name)
		}
	}
	return fmt.Sprint(times)
}

// quiet waits until netra has no connection open, and no more descriptors than
// that if it is not 0, and returns how many there are.
func (p *process) quiet(t *testing.T, fds int) int {
	t.Helper()
	n := 0
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if p.open(t) == 0 {
			if n = len(p.descriptors(t)); fds == 0 || n <= fds {
				return n
			}
		}
		if time.Now().After(deadline) {
			t.Logf("open: %d, descriptors: %v", p.open(t), p.descriptors(t))
			return n
		}
	}
}

// open returns how many connections netra says it has.
func (p *process) open(t *testing.T) (n int) {
	t.Helper()
	for _, direction := range []string{"inbound", "outbound"} {
		n += p.metric(t, `netra_open_connections{direction="`+direction+`"}`)
	}
	return n
}

// memory returns, in bytes, what netra's heap holds when garbage is collected,
// and what the kernel has given to it.
func (p *process) memory(t *testing.T) (heap, resident int) {
	t.Helper()
	// The handler collects before it answers; the second time takes what pools
	// have kept for one collection.
	text := ""
	for range 2 {
		text = p.fetch(t, "http://127.0.0.1:14957/debug/pprof/heap?gc=1&debug=1")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	return after(t, text, "# HeapAlloc ="), after(t, string(status), "VmRSS:") << 10
}
