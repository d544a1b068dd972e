package credential

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/internal/testutil"
	"github.com/formicarium/formicarium/stinger/gittest"
)

const secret = "aaaa.bbbb.the-secret-part"

// stinger is a Keeper in front of an API, on a loopback port, and its hub.
type stinger struct {
	*testing.T
	*Keeper
	hub     *gittest.Devspace
	dir     string
	log     *testutil.Buffer
	address string
	late    atomic.Int64 // how far ahead this node's clock is, in ns
	asked   atomic.Int64 // requests that reached the API
}

// start starts a Stinger's outer part; with no identity where there is none yet.
func start(t *testing.T, withIdentity bool) *stinger {
	t.Helper()
	s := &stinger{T: t, hub: gittest.NewDevspace(t, "mine"), dir: t.TempDir(), log: &testutil.Buffer{}}
	s.hub.SetToken(secret)
	if withIdentity {
		s.hub.WriteIdentity(s.dir)
	}
	s.Keeper = New(Options{
		Dir: s.dir, Hub: strings.TrimSuffix(s.hub.URL, "/svc.git"), Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Dial:  toLoopback,
		Now:   func() time.Time { return time.Now().Add(time.Duration(s.late.Load())) },
		Check: 10 * time.Millisecond,
	})
	web := httptest.NewUnstartedServer(s.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		io.WriteString(w, "served "+r.URL.Path)
	})))
	web.Listener = tls.NewListener(web.Listener, s.ServerConfig())
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	web.Start()
	s.address = web.Listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Keeper.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		web.Close()
		if strings.Contains(s.log.String(), "the-secret-part") {
			t.Errorf("the log has the token:\n%s", s.log)
		}
	})
	return s
}

// toLoopback finds every name on this machine.
func toLoopback(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
}

func (s *stinger) eventually(what string, condition func() bool) {
	s.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	s.Fatalf("waited in vain for: %s\n%s", what, s.log)
}

func (s *stinger) hasCertificate() {
	s.Helper()
	s.eventually("a certificate", func() bool { return s.present() != nil })
}

// client returns one that knows the Stinger as the devspace does; the
// certificate may be nil.
func (s *stinger) client(c *tls.Certificate) *http.Client {
	var own func() (*tls.Certificate, error)
	if c != nil {
		own = func() (*tls.Certificate, error) { return c, nil }
	}
	transport := &http.Transport{TLSClientConfig: identity.ClientConfig(s.hub.Pod, s.hub.Authority().Roots(), own)}
	s.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// probe returns what the kubelet has: it believes any certificate.
func (s *stinger) probe() *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func (s *stinger) get(client *http.Client, method, path string) (status int, text string, err error) {
	s.Helper()
	r, err := http.NewRequest(method, "https://"+s.address+path, strings.NewReader("{}"))
	if err != nil {
		s.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	var said api.Error
	if json.Unmarshal(data, &said) == nil {
		return response.StatusCode, said.Error, err
	}
	return response.StatusCode, string(data), err
}

var (
	hub       = identity.Identity{Kind: identity.Hub}
	developer = identity.Identity{Kind: identity.Developer, Name: "ann"}
)

func TestWhoIsServed(t *testing.T) {
	s := start(t, true)
	s.hasCertificate()
	others, err := identity.NewAuthority("other")
	if err != nil {
		t.Fatal(err)
	}
	issued := func(who identity.Identity) *tls.Certificate {
		c, err := others.Issue(who)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, c := range []struct {
		name        string
		certificate *tls.Certificate
		status      int    // of all but probes; 0 where there is no connection at all
		says        string // why
	}{
		{"the hub", s.hub.Issue(hub), 200, "served"},
		{"a developer", s.hub.Issue(developer), 200, "served"},
		{"nobody", nil, 401, "kubectl fmc"},
		{"the hub of another devspace", issued(hub), 0, "certificate"},
		{"a developer of another devspace", issued(developer), 0, "certificate"},
		{"the pod itself", s.hub.Issue(s.hub.Pod), 0, "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &stinger{T: t, Keeper: s.Keeper, hub: s.hub, address: s.address}
			for path, method := range map[string]string{"/pull": "POST", "/reset": "POST", "/start": "POST", "/stop": "POST", "/status": "GET", "/health": "POST", "/health/": "GET", "/ready/../pull": "POST"} {
				status, text, err := s.get(s.client(c.certificate), method, path)
				if err != nil {
					text = err.Error()
				}
				if status != c.status || !strings.Contains(text, c.says) {
					t.Errorf("%s %s = %d %q, want %d with %q", method, path, status, text, c.status, c.says)
				}
			}
			for _, path := range []string{"/health", "/ready"} {
				if status, text, err := s.get(s.client(c.certificate), "GET", path); (status != 200 || text != "served "+path) && c.status != 0 {
					t.Errorf("GET %s = %d %q, %v", path, status, text, err)
				}
			}
		})
	}
}

// A pod that somebody got a certificate for as a client would be no better off.
func TestKindsAreChecked(t *testing.T) {
	s := start(t, true)
	s.hasCertificate()
	for _, who := range []identity.Identity{s.hub.Pod, {Devspace: "other", Kind: identity.Developer, Name: "ann"}} {
		leaf := s.hub.Issue(developer).Leaf
		r := httptest.NewRequest("POST", "/pull", nil)
		roots, err := s.trust.authorities()
		if err != nil {
			t.Fatal(err)
		}
		uri := *leaf.URIs[0]
		uri.Host, uri.Path = who.Devspace, strings.TrimPrefix(who.String(), "formicarium://"+who.Devspace)
		leaf.URIs[0] = &uri
		r.TLS = &tls.ConnectionState{PeerCertificates: append(roots[:0:0], leaf)}
		r.TLS.VerifiedChains = append(r.TLS.VerifiedChains, append(r.TLS.PeerCertificates, roots...))
		if status, err := s.admit(r); status != 403 || err == nil || !strings.Contains(err.Error(), who.String()) {
			t.Errorf("%s: %d, %v", who, status, err)
		}
	}
}

// Connections stay open for long; what they were opened with does not count for
// ever.
func TestConnectionsDoNotOutliveTheirReasons(t *testing.T) {
	s := start(t, true)
	s.hasCertificate()
	expiring, replaced := s.client(s.hub.Issue(developer)), s.client(s.hub.Issue(hub))
	ok := func(c *http.Client) {
		t.Helper()
		if status, text, err := s.get(c, "POST", "/pull"); status != 200 {
			t.Fatalf("POST /pull = %d %q, %v", status, text, err)
		}
	}
	ok(expiring)
	ok(replaced)
	s.late.Store(int64(90 * time.Minute)) // a developer's is for an hour
	if status, text, err := s.get(expiring, "POST", "/pull"); status != 401 || !strings.Contains(text, "ended at") {
		t.Errorf("with a certificate that has ended: %d %q, %v", status, text, err)
	}
	ok(replaced)
	before := s.present()
	s.hub.Renew()
	s.hub.WriteIdentity(s.dir)
	s.eventually("a certificate of the new authority", func() bool { return s.present() != before })
	if status, text, err := s.get(replaced, "POST", "/pull"); status != 401 || !strings.Contains(text, "another authority") {
		t.Errorf("with a certificate of the authority before: %d %q, %v", status, text, err)
	}
	ok(s.client(s.hub.Issue(hub)))
}

// The certificate is renewed while requests go on over connections that were made
// with the one before.
func TestRenewalDisturbsNobody(t *testing.T) {
	s := start(t, true)
	s.hasCertificate()
	client := s.client(s.hub.Issue(hub))
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if status, text, err := s.get(client, "POST", "/pull"); status != 200 {
				failed <- errors.Join(err, errors.New(text))
				return
			}
		}
	}()
	first := s.present()
	s.late.Store(int64(17 * time.Hour)) // two thirds of a day are over
	s.eventually("a third certificate", func() bool { return s.hub.Given() >= 3 })
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("while the certificate was renewed: %v", err)
	}
	key := func(c *tls.Certificate) []byte { return c.Leaf.RawSubjectPublicKeyInfo }
	if bytes.Equal(key(s.present()), key(first)) {
		t.Error("the key is the same")
	}
}

// Probes are answered from the first, the rest when the devspace is there.
func TestWithoutADevspace(t *testing.T) {
	s := start(t, false)
	for path, want := range map[string]int{"/health": 200, "/ready": 200, "/status": 403, "/pull": 403} {
		status, text, err := s.get(s.probe(), "GET", path)
		if status != want || want == 403 && !strings.Contains(text, "kubectl fmc devspace create") {
			t.Errorf("GET %s = %d %q, %v, want %d", path, status, text, err, want)
		}
	}
	if _, text, err := s.get(&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{*s.hub.Issue(hub)}}}}, "POST", "/pull"); err == nil {
		t.Errorf("a client was believed: %q", text)
	}
	s.eventually("the reason", func() bool { return strings.Contains(s.log.String(), "ca.crt") })
	s.hub.WriteIdentity(s.dir)
	s.hasCertificate()
	if status, text, err := s.get(s.client(s.hub.Issue(hub)), "POST", "/pull"); status != 200 {
		t.Errorf("POST /pull = %d %q, %v", status, text, err)
	}
	if n := strings.Count(s.log.String(), "no certificate yet"); n != 1 {
		t.Errorf("the reason is logged %d times:\n%s", n, s.log)
	}
}

// A hub that is away, or does not know the token yet, is asked again.
func TestHubComesLater(t *testing.T) {
	s := start(t, false)
	s.hub.SetToken("another.token.altogether")
	s.hub.WriteIdentity(s.dir)
	if err := os.WriteFile(filepath.Join(s.dir, api.IdentityToken), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s.eventually("the refusal", func() bool { return strings.Contains(s.log.String(), "does not know this token") })
	if _, _, err := s.get(s.client(s.hub.Issue(hub)), "POST", "/pull"); err == nil {
		t.Error("a client took the throw-away certificate for the pod's")
	}
	s.hub.SetToken(secret) // as if the kubelet had renewed it
	s.hasCertificate()
}

// By a clock that is hours behind or ahead no certificate is valid; it is got all
// the same, since others judge it, and the log says why nothing works.
func TestClocksThatDiffer(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, 30 * time.Hour} {
		s := start(t, false)
		s.late.Store(int64(off))
		s.hub.WriteIdentity(s.dir)
		s.eventually("the question", func() bool { return strings.Contains(s.log.String(), "clocks of the hub's node") })
		if strings.Contains(s.log.String(), "the-secret-part") || s.present() != nil {
			t.Errorf("%s: a certificate from a hub that cannot be checked:\n%s", off, s.log)
		}
		// Once the clock is set, all is well without a restart.
		s.late.Store(0)
		s.hasCertificate()
	}
}
