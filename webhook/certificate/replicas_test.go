package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// Replicas that start at once, where there is nothing, agree on one.
func TestReplicasAgree(t *testing.T) {
	c := newCluster(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var keepers []*Keeper
	for range 5 {
		k := New(Options{Client: c, Life: life, Log: slog.New(slog.DiscardHandler)})
		running.Go(func() { k.Run(ctx) })
		keepers = append(keepers, k)
	}
	for _, k := range keepers {
		await(t, "a replica to be ready", func() bool { return k.Ready() == nil })
	}
	for _, k := range keepers {
		serves(t, "with others", k, current(t, c))
	}
}

// server answers on loopback with a keeper's certificate and returns its
// address.
func server(t *testing.T, k *Keeper) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: k.Get})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "reviewed") }),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	go s.Serve(listener)
	t.Cleanup(func() { s.Close() })
	return listener.Addr().String()
}

// ask sends one request on a connection of its own, and trusts what the
// configuration says at that moment. It returns the leaf's authority.
func ask(t *testing.T, c *cluster, address string, now func() time.Time) (string, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.bundle(t))
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: api.WebhookNames()[0], Time: now},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	response, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get("https://webhook/")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return string(response.TLS.PeerCertificates[0].AuthorityKeyId), err
}

// Three replicas renew under a stream of requests, from the old authority alone
// to the new one alone, and not one request fails.
func TestRotationUnderLoad(t *testing.T) {
	old := makePair(t, time.Now(), life)
	c := newCluster(t, secret(old, Pair{}), configuration(old.CA))
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	// A client that is held up between reading the bundle and shaking hands for
	// longer than this would fail the test.
	const settle = 5 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var replicas []*replica
	for range 3 {
		k := New(Options{Client: c, Life: life, Log: slog.New(slog.NewTextHandler(testLog{t}, nil))})
		k.times, k.now = times{settle: settle, hurry: settle, retire: settle}, now
		running.Go(func() { k.Run(ctx) })
		replicas = append(replicas, &replica{Keeper: k, address: server(t, k)})
		await(t, "a replica to be ready", func() bool { return k.Ready() == nil })
	}
	loaded, end := context.WithCancel(ctx)
	var clients sync.WaitGroup
	for _, r := range replicas {
		clients.Go(func() {
			for ; loaded.Err() == nil; time.Sleep(5 * time.Millisecond) {
				authority, err := ask(t, c, r.address, now)
				if r.asked.Add(1); err != nil {
					t.Errorf("%v", err)
				}
				r.authorities.Store(authority, true)
			}
		})
	}
	more := func(when string) {
		t.Helper()
		for _, r := range replicas {
			before := r.asked.Load()
			await(t, "requests "+when, func() bool { return r.asked.Load() > before+20 })
		}
	}
	more("before the renewal")
	ahead.Store(int64(life/2 + time.Hour))
	for _, r := range replicas {
		r.wake <- struct{}{}
	}
	await(t, "the old authority to be retired", func() bool {
		bundle := c.bundle(t)
		return !trusts(bundle, old.CA, now()) && trusts(bundle, current(t, c).CA, now())
	})
	more("after the renewal")
	end()
	clients.Wait()
	for i, r := range replicas {
		count := 0
		r.authorities.Range(func(any, any) bool { count++; return true })
		t.Logf("replica %d answered %d requests, with certificates of %d authorities", i, r.asked.Load(), count)
		if count != 2 {
			t.Errorf("replica %d served certificates of %d authorities, want 2", i, count)
		}
	}
	if pair := current(t, c); bytes.Equal(pair.Key, old.Key) || !bytes.Equal(c.bundle(t), pair.CA) {
		t.Error("in the end caBundle is not the new authority alone")
	}
}

type replica struct {
	*Keeper
	address     string
	asked       atomic.Int64
	authorities sync.Map // those whose certificates it served
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s took more than 60 s", what)
		}
	}
}
