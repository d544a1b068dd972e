package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/formicarium/formicarium/internal/api"
)

// Options of a Keeper.
type Options struct {
	Client kubernetes.Interface
	// Life is how long a certificate lives that is made from now on.
	Life time.Duration
	Log  *slog.Logger
}

// Keeper keeps the certificate of one replica, and the two objects.
type Keeper struct {
	Options
	names []string
	times times
	now   func() time.Time
	wake  chan struct{}

	// trusted times the next authority in caBundle, steady the current pair in
	// the Secret. Only the rounds use them, one after the other.
	trusted, steady stopwatch

	mu     sync.Mutex
	served *tls.Certificate
	fault  error // of the last round
}

// New returns a Keeper, which does nothing before it runs.
func New(options Options) *Keeper {
	return &Keeper{
		Options: options, names: api.WebhookNames(), times: timesOf(options.Life), now: time.Now,
		wake: make(chan struct{}, 1), fault: errors.New("it has not been looked for yet"),
	}
}

// Get is for tls.Config.GetCertificate.
func (k *Keeper) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.served == nil {
		return nil, fmt.Errorf("there is no serving certificate yet: %w", k.fault)
	}
	return k.served, nil
}

// Ready reports why there is no certificate that a client would accept, or nil.
func (k *Keeper) Ready() error {
	served, err := k.Get(nil)
	if err != nil {
		return err
	}
	end := served.Leaf.NotAfter
	if !k.now().After(end) {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fault == nil {
		return fmt.Errorf("the serving certificate ended at %s: a new one is being made", end.Format(time.RFC3339))
	}
	return fmt.Errorf("the serving certificate ended at %s and was not renewed: %w", end.Format(time.RFC3339), k.fault)
}

// End returns when the certificate ends, the zero time while there is none.
func (k *Keeper) End() time.Time {
	served, err := k.Get(nil)
	if err != nil {
		return time.Time{}
	}
	return served.Leaf.NotAfter
}

// Waits between rounds: after a failure it doubles from the first to the last;
// a collision with another replica is over as soon as that one has written.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	collision  = 50 * time.Millisecond
	// roundTime bounds one round's questions to the API server.
	roundTime = 20 * time.Second
)

// Run goes round until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	k.watch(ctx)
	retry := firstRetry
	for ctx.Err() == nil {
		wait, err := k.round(ctx)
		switch {
		case err == nil:
			retry = firstRetry
		case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
			k.Log.Debug("another replica was faster", "error", err)
			wait = collision
		default:
			k.Log.Error("keeping the serving certificate failed", "error", err)
			wait, retry = retry, min(2*retry, lastRetry)
		}
		k.mu.Lock()
		k.fault = err
		k.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-k.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// watch wakes the rounds whenever one of the two objects changes.
func (k *Keeper) watch(ctx context.Context) {
	named := func(name string) informers.SharedInformerOption {
		return informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		})
	}
	notify := func() {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify() }, UpdateFunc: func(any, any) { notify() }, DeleteFunc: func(any) { notify() },
	}
	secrets := informers.NewSharedInformerFactoryWithOptions(k.Client, 0, named(api.WebhookCertificateName), informers.WithNamespace(api.SystemNamespace))
	configurations := informers.NewSharedInformerFactoryWithOptions(k.Client, 0, named(api.WebhookConfigurationName))
	for _, informer := range []cache.SharedIndexInformer{
		secrets.Core().V1().Secrets().Informer(),
		configurations.Admissionregistration().V1().MutatingWebhookConfigurations().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			// Without it the rounds go by the clock.
			k.Log.Error("watching the certificate's objects failed", "error", err)
		}
		go informer.RunWithContext(ctx)
	}
}

// round takes all steps that are due and returns when the next one is.
func (k *Keeper) round(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	secret, err := k.secret(ctx)
	if err != nil {
		return 0, err
	}
	s := read(secret, k.names, k.now())
	if s.wantsNext(k.Life, k.now()) {
		if secret, err = k.prepare(ctx, secret, s); err != nil {
			return 0, err
		}
		s = read(secret, k.names, k.now())
	}
	trusting, err := k.trust(ctx, s)
	if err != nil {
		// What was trusted before still is. Who has nothing else may as well
		// serve what is there.
		if _, none := k.Get(nil); none != nil {
			k.serve(s.serving)
		}
		return 0, err
	}
	k.serve(s.serving)
	if s.coming == nil {
		return k.rest(s), nil
	}
	if left := k.times.settling(s, trusting, k.now()) - k.trusted.read(s.next.CA, k.now()); left > 0 {
		return left, nil
	}
	if secret, err = k.store(ctx, secret, s.next, Pair{}); err != nil {
		return 0, fmt.Errorf("promoting the next certificate: %w", err)
	}
	k.Log.Info("promoted the next serving certificate", "end", s.coming.Leaf.NotAfter)
	s = read(secret, k.names, k.now())
	k.serve(s.serving)
	return k.rest(s), nil
}

// rest is the time until something is due, if nothing happens.
func (k *Keeper) rest(s state) time.Duration {
	wait := min(time.Minute, k.Life/60)
	if s.serving != nil {
		wait = min(wait, renewal(s.serving.Leaf, k.Life).Sub(k.now()))
		if left := k.times.retire - k.steady.read(s.current.CA, k.now()); left > 0 {
			wait = min(wait, left)
		}
	}
	return max(wait, collision)
}

// serve takes over a pair, if it is another.
func (k *Keeper) serve(pair *tls.Certificate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if pair == nil || k.served != nil && k.served.Leaf.Equal(pair.Leaf) {
		return
	}
	k.served = pair
	k.Log.Info("serving a certificate", "names", pair.Leaf.DNSNames, "end", pair.Leaf.NotAfter)
}

func (k *Keeper) secret(ctx context.Context) (*corev1.Secret, error) {
	secret, err := k.Client.CoreV1().Secrets(api.SystemNamespace).Get(ctx, api.WebhookCertificateName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading secret %s/%s: %w", api.SystemNamespace, api.WebhookCertificateName, err)
	}
	return secret, nil
}

// prepare makes the next pair.
func (k *Keeper) prepare(ctx context.Context, secret *corev1.Secret, s state) (*corev1.Secret, error) {
	why := "half of its life is over"
	if s.fault != nil {
		why = s.fault.Error()
	}
	next, err := Make(k.names, k.Life, k.now())
	if err != nil {
		return nil, err
	}
	if secret, err = k.store(ctx, secret, s.current, next); err != nil {
		return nil, fmt.Errorf("storing the next certificate: %w", err)
	}
	k.Log.Info("made the next serving certificate", "why", why)
	return secret, nil
}

// store writes the Secret, unless it has changed since it was read.
func (k *Keeper) store(ctx context.Context, secret *corev1.Secret, current, next Pair) (*corev1.Secret, error) {
	secrets := k.Client.CoreV1().Secrets(api.SystemNamespace)
	if secret == nil {
		return secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Name: api.WebhookCertificateName, Namespace: api.SystemNamespace,
				Labels: map[string]string{api.LabelManagedBy: api.FieldManager, api.LabelPartOf: api.PartOf},
			},
			Type: corev1.SecretTypeTLS,
			Data: write(nil, current, next),
		}, metav1.CreateOptions{FieldManager: fieldManager})
	}
	changed := secret.DeepCopy()
	changed.Data = write(secret.Data, current, next)
	return secrets.Update(ctx, changed, metav1.UpdateOptions{FieldManager: fieldManager})
}

// names of authorities, for the log.
func names(bundle []byte, now time.Time) []string {
	var list []string
	for _, c := range authorities(bundle, now) {
		list = append(list, describe(c))
	}
	return list
}

func describe(c *x509.Certificate) string {
	return fmt.Sprintf("%s %x", c.Subject.CommonName, c.SubjectKeyId[:min(4, len(c.SubjectKeyId))])
}
