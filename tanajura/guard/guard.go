// Package guard lets those use a hub whom the cluster knows and allows.
//
//	reviews := guard.NewReviews(client, "mine")
//	g := guard.New(guard.Options{Devspace: "mine", Authenticator: reviews, Authorizer: reviews, Log: log})
//	go g.Run(ctx)
//	handler := g.Handler(next) // 401 but for those who are known
//	// in next:
//	if !g.Allow(w, r, guard.Right{Verb: "update", Resource: "repositories", Name: "orders"}) { return }
//
// # Who asks
//
// A request brings a Kubernetes token, as bearer or as the password that git sends.
// What cannot be a token of this devspace, by its shape, audience or end, is
// refused here. Of the rest the API server is asked whose it is (TokenReview). One
// that is bound to a pod of the devspace makes a Caller of the kind pod: it may read
// repositories and get a certificate for its pod, by this package's own rule and
// with no right in the cluster. A pod of another namespace is refused. Anybody
// else is a developer, who may do what the cluster's RBAC says in the devspace's
// namespace (LocalSubjectAccessReview).
//
// # What it costs
//
// Answers are kept by the token's SHA-256: a minute where they are yes, 10 s where
// they are no, and never beyond the token's own end. Those that were used in the
// last quarter of an hour are asked for anew in the background before they are too old,
// so that a save finds them there: a look-up takes some microseconds, and waits
// for nothing. That is why a good token stays in memory while it is in use. Where
// the API server does not answer, what it said last holds for five minutes in all.
//
// All of it is bounded: requests in flight, requests that wait for a review, reviews
// at once, answers kept. What is refused is kept apart from what is good, so a
// flood of the one does not drive out the other.
//
// Nobody takes the others' places: pods and developers have separate ones, and a
// pod or a developer a part of them. Who is not known yet takes none, but one of
// those that wait for a review, of which an address has a part. Who has no place is
// told so with 503, at once.
package guard

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
)

// User is whom the API server knows by a token.
type User struct {
	Name, UID string
	Groups    []string
	Extra     map[string][]string
}

// Right is what somebody wants to do in the devspace, in RBAC's words.
type Right struct {
	Verb, Resource string
	Name           string // empty: all of them
}

// Authenticator says whose a token is. Known is false where nobody's; an error
// means that it could not be found out.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (user User, known bool, err error)
}

// Authorizer says whether a user has a right. An error means that it could not be
// found out.
type Authorizer interface {
	Authorize(ctx context.Context, user User, right Right) (allowed bool, err error)
}

// Caller is who sent a request.
type Caller struct {
	identity.Identity
	user User
	key  tokenKey
	ends time.Time // of the token
}

// tokenKey stands for a token where it is kept.
type tokenKey [sha256.Size]byte

// rightKey is one token's right.
type rightKey struct {
	token tokenKey
	right Right
}

// Options of a Guard.
type Options struct {
	Devspace      string
	Authenticator Authenticator
	Authorizer    Authorizer
	Log           *slog.Logger
}

const (
	// maxProbes bounds requests of what is open to everybody, which are
	// answered at once.
	maxProbes = 64
	// maxTokens and maxRights bound the answers kept, of 2 kB and less each.
	maxTokens = 1024
	maxRights = 4096
)

// Guard is described in the package comment. A nil Guard lets everybody do
// everything. Its methods may be used concurrently.
type Guard struct {
	Options
	pods, developers, strangers *pool
	probes                      slots
	callers                     *cache[tokenKey, verdict]
	rights                      *cache[rightKey, struct{}]
}

// verdict is a Caller, or why there is none.
type verdict struct {
	caller  Caller
	refusal *refusal
}

// New returns a Guard. Run keeps its answers fresh.
func New(options Options) *Guard {
	return &Guard{
		Options:    options,
		pods:       newPool(maxPods, maxOnePod, "pods", "pod"),
		developers: newPool(maxDevelopers, maxOneDeveloper, "developers", "developer"),
		strangers:  newPool(maxStrangers, maxOneAddress, "senders not known yet", "address before it knows the sender"),
		probes:     make(slots, maxProbes),
		callers:    newCache[tokenKey, verdict](maxTokens),
		rights:     newCache[rightKey, struct{}](maxRights),
	}
}

// Run keeps the answers in use fresh until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	ticker := time.NewTicker(freshen)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.callers.freshen()
			g.rights.freshen()
		}
	}
}

// open are the paths that need no token: what a kubelet asks for, and what says
// with whom one speaks.
var open = map[string]bool{"/healthz": true, "/readyz": true, "/api/version": true}

// Handler serves with next who is known, and refuses others.
func (g *Guard) Handler(next http.Handler) http.Handler {
	if g == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A stranger holds no connection: idle ones have no bound.
		if open[r.URL.Path] {
			if !g.probes.take() {
				refuse(w, r, errProbes)
				return
			}
			defer g.probes.give()
			w.Header().Set("Connection", "close")
			next.ServeHTTP(w, r)
			return
		}
		caller, err := g.caller(r)
		if err != nil {
			w.Header().Set("Connection", "close")
			g.refused(w, r, err)
			return
		}
		leave, err := g.enter(caller)
		if err != nil {
			// Else the server would wait for a body that may never come.
			w.Header().Set("Connection", "close")
			g.refused(w, r, err)
			return
		}
		defer leave()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
	})
}

type callerKey struct{}

// From returns who sent the request with this context. There is nobody where no
// Guard stands before.
func From(ctx context.Context) (Caller, bool) {
	caller, ok := ctx.Value(callerKey{}).(Caller)
	return caller, ok
}

// Allow reports whether the request's sender has the right. Where not, it has
// answered the request.
func (g *Guard) Allow(w http.ResponseWriter, r *http.Request, right Right) bool {
	if g == nil {
		return true
	}
	err := g.allow(r.Context(), right)
	if err != nil {
		g.refused(w, r, err)
	}
	return err == nil
}

// caller returns whose token a request brings.
func (g *Guard) caller(r *http.Request) (Caller, error) {
	token, err := tokenOf(r)
	if err != nil {
		return Caller{}, g.unknown(err)
	}
	key := tokenKey(sha256.Sum256([]byte(token)))
	got, ok := g.callers.have(key)
	if !ok {
		ends, err := fits(token, api.Audience(g.Devspace), time.Now())
		if err != nil {
			return Caller{}, g.unknown(err)
		}
		from := address(r)
		if err := g.strangers.take(from, from); err != nil {
			return Caller{}, err
		}
		defer g.strangers.give(from)
		// Who goes away leaves his question, and so his place stays taken: else
		// one address could fill the queue.
		got, err = g.callers.get(context.WithoutCancel(r.Context()), key, func(ctx context.Context) (answer[verdict], error) {
			return g.authenticate(ctx, token, key, ends)
		})
		if err != nil {
			return Caller{}, cannotAsk("who you are", hide(err, token))
		}
	}
	if got.value.refusal != nil {
		return Caller{}, got.value.refusal
	}
	return got.value.caller, nil
}

func (g *Guard) authenticate(ctx context.Context, token string, key tokenKey, ends time.Time) (answer[verdict], error) {
	user, known, err := g.Authenticator.Authenticate(ctx, token)
	if err != nil {
		return answer[verdict]{}, err
	}
	if !known {
		return answer[verdict]{value: verdict{refusal: g.unknown(errNobody)}}, nil
	}
	who, refusal := identify(g.Devspace, user)
	if refusal != nil {
		return answer[verdict]{value: verdict{refusal: refusal}}, nil
	}
	return answer[verdict]{good: true, until: ends, value: verdict{caller: Caller{who, user, key, ends}}}, nil
}

// allow returns why the sender may not.
func (g *Guard) allow(ctx context.Context, right Right) error {
	caller, ok := From(ctx)
	if !ok {
		return g.unknown(errNoToken)
	}
	if right.Name != "" {
		// The names that there are. An answer is kept for each that is asked about.
		if err := api.CheckName("repository", right.Name); err != nil {
			return &refusal{http.StatusBadRequest, err.Error(), ""}
		}
	}
	if caller.Kind == identity.Pod {
		return podMay(caller, right)
	}
	key := rightKey{caller.key, right}
	got, err := g.rights.get(ctx, key, func(ctx context.Context) (answer[struct{}], error) {
		allowed, err := g.Authorizer.Authorize(ctx, caller.user, right)
		return answer[struct{}]{good: allowed, until: caller.ends}, err
	})
	switch {
	case err != nil:
		return cannotAsk("what you may do", err)
	case !got.good:
		return g.denied(caller, right)
	}
	return nil
}
