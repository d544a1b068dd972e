package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/formicarium/formicarium/internal/api"
)

func round(t *testing.T, k *Keeper) time.Duration {
	t.Helper()
	wait, err := k.round(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return wait
}

// serves fails the test unless k serves pair.
func serves(t *testing.T, when string, k *Keeper, pair Pair) {
	t.Helper()
	served, err := k.Get(nil)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if want, err := tls.X509KeyPair(pair.Certificate, pair.Key); err != nil || !want.Leaf.Equal(served.Leaf) {
		t.Fatalf("%s: another certificate is served (%v)", when, err)
	}
}

func current(t *testing.T, c *cluster) Pair { return read(c.secret(t), nil, time.Now()).current }
func next(t *testing.T, c *cluster) Pair    { return read(c.secret(t), nil, time.Now()).next }

// Before there is a configuration nobody asks, and nobody has to be waited for.
func TestFirstCertificateIsServedAtOnce(t *testing.T) {
	c := newCluster(t)
	k, _ := newKeeper(t, c)
	if err := k.Ready(); err == nil {
		t.Error("ready without a certificate")
	}
	round(t, k)
	if err := k.Ready(); err != nil {
		t.Error(err)
	}
	first := current(t, c)
	serves(t, "at first", k, first)
	if _, err := first.open(api.WebhookNames(), time.Now()); err != nil {
		t.Error(err)
	}
	if labels := c.secret(t).Labels; labels[api.LabelManagedBy] != api.FieldManager || labels[api.LabelPartOf] != api.PartOf {
		t.Errorf("labels = %v: uninstall would not find the Secret", labels)
	}
	other, _ := newKeeper(t, c)
	round(t, other)
	serves(t, "another replica", other, first)
	// The configuration comes without a bundle, as from a file.
	if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), configuration(nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	round(t, k)
	if !bytes.Equal(c.bundle(t), first.CA) {
		t.Errorf("caBundle = %s, want the authority", c.bundle(t))
	}
	if next(t, c).Key != nil {
		t.Error("a renewal has begun")
	}
}

func TestRenewalInItsSteps(t *testing.T) {
	old := makePair(t, time.Now(), life)
	c := newCluster(t, secret(old, Pair{}), configuration(old.CA))
	k, now := newKeeper(t, c)
	round(t, k)
	serves(t, "at first", k, old)

	*now = now.Add(life/2 - time.Minute)
	round(t, k)
	if next(t, c).Key != nil {
		t.Fatal("the renewal begins before half of the life is over")
	}
	*now = now.Add(2 * time.Minute)
	if wait := round(t, k); wait != time.Minute {
		t.Errorf("the next step is in %s, want after the settling time", wait)
	}
	serves(t, "while it settles", k, old)
	made := next(t, c)
	for what, authority := range map[string][]byte{"old": old.CA, "next": made.CA} {
		if !trusts(c.bundle(t), authority, *now) {
			t.Errorf("the %s authority is not in caBundle", what)
		}
	}

	// Somebody takes the bundle back, as an apply from a file does.
	*now = now.Add(30 * time.Second)
	config, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), api.WebhookConfigurationName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.CABundle = old.CA
	}
	if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(t.Context(), config, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if wait := round(t, k); wait != time.Minute {
		t.Errorf("after the bundle was taken back the next step is in %s: it has to settle anew", wait)
	}
	*now = now.Add(time.Minute)
	round(t, k)
	serves(t, "after settling", k, made)
	if !bytes.Equal(current(t, c).Key, made.Key) || next(t, c).Key != nil {
		t.Error("the next pair is not the current one in the Secret")
	}
	if string(c.secret(t).Data["other"]) != "stays" {
		t.Error("other data of the Secret are gone")
	}

	round(t, k)
	*now = now.Add(time.Hour - time.Second)
	round(t, k)
	if !trusts(c.bundle(t), old.CA, *now) {
		t.Error("the old authority is retired within the hour")
	}
	*now = now.Add(time.Second)
	round(t, k)
	if !bytes.Equal(c.bundle(t), made.CA) {
		t.Errorf("after an hour caBundle has %v, want the new authority alone", names(c.bundle(t), *now))
	}
}

// An earlier installation's certificate may live for years.
func TestLongLifeIsCutShort(t *testing.T) {
	old := makePair(t, time.Now().Add(-life/2), 10*365*24*time.Hour)
	c := newCluster(t, secret(old, Pair{}), configuration(old.CA))
	k, _ := newKeeper(t, c)
	round(t, k)
	if next(t, c).Key == nil {
		t.Error("it is not renewed")
	}
}

func TestSecretThatCannotBeUsedIsRemade(t *testing.T) {
	old := makePair(t, time.Now(), life)
	other := makePair(t, time.Now(), life)
	foreign, err := Make([]string{"elsewhere.fmc-system.svc"}, life, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ended := makePair(t, time.Now().Add(-2*life), life)
	for what, damaged := range map[string]Pair{
		"ended":             ended,
		"empty":             {},
		"another authority": {CA: other.CA, Certificate: old.Certificate, Key: old.Key},
		"another key":       {CA: old.CA, Certificate: old.Certificate, Key: other.Key},
		"another name":      foreign,
		"cut short":         {CA: old.CA, Certificate: old.Certificate[:100], Key: old.Key},
		"no authority":      {Certificate: old.Certificate, Key: old.Key},
	} {
		t.Run(what, func(t *testing.T) {
			// Another replica may be serving the old one still.
			c := newCluster(t, secret(damaged, Pair{}), configuration(old.CA))
			k, now := newKeeper(t, c)
			if wait := round(t, k); wait != 10*time.Second {
				t.Errorf("the next step is in %s, want after the short settling time", wait)
			}
			if err := k.Ready(); err == nil {
				t.Error("ready without a usable certificate")
			}
			*now = now.Add(10 * time.Second)
			round(t, k)
			if err := k.Ready(); err != nil {
				t.Error(err)
			}
			made := current(t, c)
			serves(t, "in the end", k, made)
			if !trusts(c.bundle(t), made.CA, *now) || !trusts(c.bundle(t), old.CA, *now) {
				t.Errorf("caBundle has %v, want the new authority and the old", names(c.bundle(t), *now))
			}
		})
	}
}

// Where all that the API server trusts has ended, waiting helps nobody.
func TestEndedCertificateIsRenewedAtOnce(t *testing.T) {
	ended := makePair(t, time.Now().Add(-2*life), life)
	c := newCluster(t, secret(ended, Pair{}), configuration(ended.CA))
	k, _ := newKeeper(t, c)
	round(t, k)
	if err := k.Ready(); err != nil {
		t.Error(err)
	}
	if made := current(t, c); !bytes.Equal(c.bundle(t), made.CA) {
		t.Error("caBundle is not the new authority alone")
	}
}

func TestCertificateThatEndsWhileServedIsNotReady(t *testing.T) {
	c := newCluster(t)
	k, now := newKeeper(t, c)
	round(t, k)
	c.refuse = func(clienttesting.Action) error { return errors.New("the API server is away") }
	*now = now.Add(life + time.Second)
	if _, err := k.round(t.Context()); err == nil {
		t.Error("a round without an API server is said to be well")
	}
	if err := k.Ready(); err == nil || !strings.Contains(err.Error(), "ended at") {
		t.Errorf("Ready = %v", err)
	}
	if _, err := k.Get(nil); err != nil {
		t.Errorf("the certificate is no longer served: %v", err)
	}
}

// Without the right to write the configuration a replica still starts with what
// is there, but does not go over to what nobody may trust.
func TestNothingIsServedThatCannotBeTrusted(t *testing.T) {
	old, put := makePair(t, time.Now(), life), makePair(t, time.Now(), life)
	c := newCluster(t, secret(old, Pair{}), configuration(nil))
	c.refuse = func(a clienttesting.Action) error {
		if a.GetVerb() == "patch" {
			return errors.New("forbidden")
		}
		return nil
	}
	k, _ := newKeeper(t, c)
	if _, err := k.round(t.Context()); err == nil || !strings.Contains(err.Error(), "writing caBundle") {
		t.Errorf("round = %v", err)
	}
	serves(t, "with nothing else", k, old)
	stored := c.secret(t)
	stored.Data = write(nil, put, Pair{})
	if _, err := c.CoreV1().Secrets(api.SystemNamespace).Update(t.Context(), stored, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.round(t.Context()); err == nil {
		t.Error("round has no error")
	}
	serves(t, "with another in the Secret", k, old)
	c.refuse = nil
	round(t, k)
	serves(t, "when it is trusted", k, put)
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
