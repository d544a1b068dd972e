package certificate

import (
	"bytes"
	"crypto/tls"
	"errors"
	"strings"
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

// A webhook that comes back late, or with a longer life to give, is in time.
func TestCertificateThatIsAboutToEndDoesNotWait(t *testing.T) {
	old := makePair(t, time.Now().Add(-life+40*time.Second), life)
	c := newCluster(t, secret(old, Pair{}), configuration(old.CA))
	k, now := newKeeper(t, c)
	if wait := round(t, k); wait > 10*time.Second || wait < 9*time.Second {
		t.Errorf("the next step is in %s, want a quarter of the 40 s that are left", wait)
	}
	serves(t, "at first", k, old)
	*now = now.Add(10 * time.Second)
	round(t, k)
	serves(t, "in time", k, current(t, c))
	if bytes.Equal(current(t, c).CA, old.CA) {
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
