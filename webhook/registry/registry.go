// Package registry reads from an image's registry what the image runs by
// itself: its ENTRYPOINT and CMD.
//
//	client := registry.New(registry.Options{Timeout: 2 * time.Second})
//	lookup := registry.Lookup{Client: client, Secrets: secrets}
//	commands := lookup.Commands(ctx, "shop", query) // by image, as the pod names it
//
// Commands always returns within the timeout and has an answer for each image:
// where the command could not be found out, the answer says why, in words for
// the user who created the pod.
//
// # The way to an answer
//
// The pod's pull secrets make a Keyring, whose credentials for an image are
// tried in order, as the kubelet does; without any the registry is asked
// anonymously. A HEAD says which digest the tag has now, and is repeated when
// its answer is a minute old. What a digest stands for never changes, so that
// is read once: manifest, for an index that of the pod's platform, and
// configuration. One flight serves all that ask for the same at the same time,
// and goes on when they have given up, so that the next to ask find it done.
//
// # What it must not be used for
//
// The names come from whoever may create a pod. Connections go to public and
// to private addresses, where registries are, but not to this machine, the
// node's own link or a cloud's metadata service (see Routable). Nothing that a
// server sends is passed on in a fault. Each body, the number of flights and
// the two caches have a limit. An answer is kept under the credentials that it
// was got with: nobody gets from the cache what the registry would refuse
// them.
package registry

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/util/cache"

	"github.com/formicarium/formicarium/webhook/inject"
)

const (
	// tagLife is how long a tag is taken to stay where it is: a rollout of
	// many pods asks once, a tag that moves is followed soon.
	tagLife = time.Minute
	// faultLife is how long a failure is taken to last: long enough that a
	// registry which is down does not hold up each pod of a rollout.
	faultLife = 10 * time.Second
	// configLife only bounds how long what nobody asks for stays in memory.
	configLife = 24 * time.Hour
	// maxKept bounds each cache. An entry has some hundred bytes.
	maxKept = 1000
	// maxFlights bounds the look-ups under way, and with maxBody their memory.
	maxFlights = 16
	// maxWaiting bounds those that wait for their turn, each for flightLimit at
	// the longest. Who asked has gone on by then, but what is found out is kept
	// for the next.
	maxWaiting = 256
	// flightLimit is the longest that a flight may take, whoever waits for it.
	flightLimit = 10 * time.Second
)

// Options of a Client.
type Options struct {
	// Timeout is how long all images of one pod may take together.
	Timeout time.Duration
	// PlainHTTP lists the registries (host or host:port) that are asked over
	// plain HTTP. All others are asked over HTTPS only.
	PlainHTTP []string
	// Roots are the authorities to trust; nil is those of the system.
	Roots *x509.CertPool
	// Routable says which addresses may be connected to; nil is the
	// package's own Routable.
	Routable func(netip.Addr) bool
	Log      *slog.Logger
}

// Client asks registries. Its methods may be called at the same time.
type Client struct {
	options   Options
	transport http.RoundTripper
	plain     map[string]bool
	flights   singleflight.Group
	slots     chan struct{}
	waiting   atomic.Int32
	// tags holds an outcome by image, platform and credentials.
	tags *cache.LRUExpireCache
	// configs holds a config by repository, digest and platform.
	configs *cache.LRUExpireCache
}

// outcome is what a flight brought: exactly one of the two.
type outcome struct {
	command inject.ImageCommand
	err     error
}

// New returns a Client.
func New(o Options) *Client {
	if o.Routable == nil {
		o.Routable = Routable
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		options: o, plain: map[string]bool{}, slots: make(chan struct{}, maxFlights),
		tags: cache.NewLRUExpireCache(maxKept), configs: cache.NewLRUExpireCache(maxKept),
	}
	for _, host := range o.PlainHTTP {
		c.plain[host] = true
	}
	c.transport = newTransport(o, c.plain)
	return c
}

// Command returns what the image runs on the platform. It waits until ctx ends
// at the longest; the error is for the user.
func (c *Client) Command(ctx context.Context, image string, p Platform, ring *Keyring) (inject.ImageCommand, error) {
	ref, err := parseReference(image)
	if err != nil {
		return inject.ImageCommand{}, err
	}
	credentials := ring.For(ref.Context())
	key := ref.Name() + " " + p.String() + " " + fingerprint(credentials)
	if kept, ok := c.tags.Get(key); ok {
		o := kept.(outcome)
		return o.command, o.err
	}
	select {
	case result := <-c.flights.DoChan(key, func() (any, error) { return c.fly(context.WithoutCancel(ctx), key, ref, p, credentials), nil }):
		o := result.Val.(outcome)
		return o.command, o.err
	case <-ctx.Done():
		return inject.ImageCommand{}, fmt.Errorf("its registry took more than %s", c.options.Timeout)
	}
}

// turn waits until a flight may begin; over ends it. There is none where too many
// wait, or for too long.
func (c *Client) turn(ctx context.Context) (over func(), ok bool) {
	defer c.waiting.Add(-1)
	if c.waiting.Add(1) > maxWaiting {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, flightLimit)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }, true
	case <-ctx.Done():
		return nil, false
	}
}

// fly looks up and keeps what came of it.
func (c *Client) fly(ctx context.Context, key string, ref name.Reference, p Platform, credentials []Credential) (o outcome) {
	over, ok := c.turn(ctx)
	if !ok {
		// Not kept: it says nothing of the image.
		return outcome{err: faultError{"too many images are being looked up"}}
	}
	defer over()
	ctx, cancel := context.WithTimeout(ctx, flightLimit)
	defer cancel()
	defer func() {
		// Nothing in a flight should panic; if it does, in a goroutine of its
		// own, that would take the webhook with it.
		if cause := recover(); cause != nil {
			c.options.Log.Error("looking up an image panicked", "image", ref.Name(), "panic", cause)
			o = outcome{err: faultError{"looking it up failed"}}
		}
		life := tagLife
		if o.err != nil {
			life = faultLife
		}
		c.tags.Add(key, o, life)
	}()
	start := time.Now()
	for _, credential := range credentials {
		o.command, o.err = c.read(ctx, ref, p, credential)
		if !isRefusal(o.err) {
			break
		}
	}
	if o.err != nil {
		c.options.Log.Info("looking up an image failed", "image", ref.Name(), "took", time.Since(start), "error", o.err)
		o.err = explain(o.err, len(credentials) == 1 && credentials[0].isAnonymous())
	}
	return o
}
