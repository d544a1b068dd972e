package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/run"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tanajura": func() { os.Exit(run.Main("tanajura", tanajura)) },
		"hub-api":  func() { os.Exit(run.Main("hub-api", hubAPI)) },
	})
}

// hubAPI is the scripts' HTTP client: hub-api METHOD URL [JSON]. It prints
// status and body, and waits for a hub that is just starting.
func hubAPI(ctx context.Context, args []string, _ func(string) string, stdout, _ io.Writer) error {
	body := ""
	if len(args) > 2 {
		body = args[2]
	}
	for tries := 0; ; tries++ {
		request, err := http.NewRequestWithContext(ctx, args[0], args[1], strings.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil && tries < 200 {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if err != nil {
			return err
		}
		defer response.Body.Close()
		fmt.Fprint(stdout, response.StatusCode, " ")
		if _, err = io.Copy(stdout, response.Body); err != nil {
			return err
		}
		fmt.Fprintln(stdout)
		return nil
	}
}

// The scripts drive the built server with the real git.
func TestScripts(t *testing.T) {
	stinger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request api.PullRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Errorf("a Stinger was asked: %v", err)
		}
		_ = json.NewEncoder(w).Encode(api.PullResult{Commit: request.Commit, PID: 17})
	}))
	t.Cleanup(stinger.Close)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PORT", freePort(t))
			env.Setenv("STINGER", stinger.URL)
			for name, value := range map[string]string{
				"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0",
				"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.com", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.com",
			} {
				env.Setenv(name, value)
			}
			return nil
		},
	})
}

// lastPort is the last port that freePort tried. It starts anywhere, for
// another run of this test may be under way.
var lastPort = func() *atomic.Int32 {
	var port atomic.Int32
	port.Store(15000 + rand.Int32N(4000))
	return &port
}()

// freePort returns a port that was free just now, and stays so: it is below
// those that the kernel gives to whoever asks for any, as other tests do.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(int(lastPort.Add(1)))
		if listener, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// started is a hub inside the test's process, so that a test can end it.
func started(t *testing.T, vars map[string]string) (url string, stop func() error) {
	t.Helper()
	port := freePort(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- tanajura(ctx, nil, func(name string) string {
			switch name {
			case "TANAJURA_PORT":
				return port
			case "TANAJURA_DIR":
				return filepath.Join(vars["HUB"], "dir")
			}
			return vars[name]
		}, io.Discard, io.Discard)
	}()
	url = "http://127.0.0.1:" + port
	if err := hubAPI(ctx, []string{"GET", url + "/readyz"}, nil, io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	return url, stop
}

// A push under way when the hub is told to end is finished, with the Stingers'
// outcomes.
func TestStopWaitsForPushes(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	stinger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-answer
		io.WriteString(w, `{"pid":17}`)
	}))
	t.Cleanup(stinger.Close)
	url, stop := started(t, map[string]string{"HUB": t.TempDir(), "TANAJURA_STINGERS": "orders=" + stinger.URL})
	if err := hubAPI(t.Context(), []string{"POST", url + "/api/repositories", `{"name":"orders"}`}, nil, io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	pushed := make(chan string, 1)
	go func() { pushed <- pushOnce(t, url+"/orders.git") }()
	<-asked
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	// The listener closes at once, while the push goes on.
	for {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		conn.Close()
		time.Sleep(5 * time.Millisecond)
	}
	select {
	case err := <-stopped:
		t.Errorf("the hub ended before the push: %v", err)
	default:
	}
	close(answer)
	if said := <-pushed; !strings.Contains(said, "pid 17") {
		t.Errorf("the push ended with %q", said)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopping: %v", err)
	}
}
