//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// handedOver is a server that takes the socket that Stinger listens on, and ends
// what it has accepted before it goes.
const handedOver = `
import http.server, signal, socket, threading, version
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(version.text.encode())
server = http.server.ThreadingHTTPServer(("", 8080), Handler, bind_and_activate=False)
server.daemon_threads = False
server.socket = socket.socket(fileno=3)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
`

// asker asks a neighbour again and again, with a new connection each time, until
// some time after it has seen the last version.
const asker = `
import json, sys, time, urllib.request
seen, failed, asked, after, end = [], [], 0, 0, time.time() + 90
while after < 20 and time.time() < end:
    asked += 1
    try:
        text = urllib.request.urlopen("http://steady:8080/", timeout=20).read().decode()
        if text not in seen: print("saw", text, flush=True)
        if text not in seen: seen.append(text)
        after += text == sys.argv[1]
    except Exception as e:
        failed.append(str(e))
print(json.dumps({"asked": asked, "failed": failed[:5], "failures": len(failed)}))
`

// testHandOver saves a service again and again that a neighbour asks all the
// time, through the sidecars of both: each save is a new process, and no request
// fails.
func testHandOver(t *testing.T, s *system) {
	const saves = 8
	above := t.TempDir()
	dir := filepath.Join(above, "steady")
	text := func(i int) string { return fmt.Sprintf("version %d", i) }
	save := func(i int) { write(t, filepath.Join(dir, "version.py"), fmt.Sprintf("text = %q\n", text(i))) }
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "app.py"), handedOver)
	save(0)
	definition := filepath.Join(above, "fmc.yaml")
	write(t, definition, `services:
  steady:
    path: ./steady
    image: `+s.Images.Python+`
    command: [python3, app.py]
    ports: [8080]
    handover: true
`)
	s.fmc(t, "deploy", "steady", "-f", definition, "-n", devspace)
	t.Cleanup(func() { s.undeploy(t, "steady") })
	s.answers(t, "steady", text(0))
	before := s.onlyContainer(t, "steady")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	background, err := s.Start(t.Context(), "sync", "steady", dir, "-n", devspace)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := background.Stop(); err != nil {
			t.Errorf("stopping the sync: %v", err)
		}
	}()
	if _, err := background.WaitLine(ctx, "in sync"); err != nil {
		t.Fatal(err)
	}
	asking, err := s.StartKubectl(ctx, "exec", "-n", devspace, s.pod(t, "orders"), "-c", "orders", "--", "python3", "-c", asker, text(saves))
	if err != nil {
		t.Fatal(err)
	}
	for i := range saves + 1 {
		save(i)
		if _, err := asking.WaitLine(ctx, "saw "+text(i)); err != nil {
			t.Fatal(err)
		}
	}
	var result struct {
		Asked, Failures int
		Failed          []string
	}
	out, err := asking.WaitLine(ctx, "asked")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("the asker said %q: %v", out, err)
	}
	if result.Failures > 0 {
		t.Errorf("%d of %d requests failed: %s", result.Failures, result.Asked, strings.Join(result.Failed, "; "))
	}
	if after := s.onlyContainer(t, "steady"); after.Restarts-before.Restarts != saves {
		t.Errorf("%d restarts, want %d", after.Restarts-before.Restarts, saves)
	}
}
