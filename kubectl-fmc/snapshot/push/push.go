// Package push sends snapshots to a hub over git's smart HTTP protocol: one
// request per save, with the objects that the hub lacks.
//
//	p := push.New(push.Config{BaseURL: "http://localhost:3002", Name: "orders", Source: repo, Create: true})
//	result, err := p.Push(ctx, snap.Tree)
//	for _, o := range result.Outcomes { … }
//
// A Pusher remembers what the hub acknowledged, so it need not ask before it
// sends: the hub itself compares the old commit. Where that does not hold (the
// hub was lost and refilled, or somebody else pushed), it asks, and sends all
// that may be missing on top of what is there. It never merges: the
// directory is the truth.
package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

// Source is where a Pusher takes objects from.
type Source interface {
	// Acknowledged returns the commit that the hub acknowledged last and its
	// tree; Acknowledge records them.
	Acknowledged() (commit, tree object.ID)
	Acknowledge(commit, tree object.ID) error
	// Commit returns a commit of tree with that parent, which may be zero.
	Commit(tree, parent object.ID) (object.ID, error)
	// TreeOf returns a commit's tree, or zero where the commit is not known.
	TreeOf(commit object.ID) object.ID
	// Difference returns what tree consists of and base, which may be zero,
	// does not.
	Difference(tree, base object.ID) ([]object.ID, error)
	// Entry returns an object as it stands in a pack.
	Entry(id object.ID) (*io.SectionReader, error)
}

// Config of a Pusher.
type Config struct {
	BaseURL string // of the hub
	Name    string // of the repository
	Client  *http.Client
	Source  Source
	// Create makes a Pusher create the repository where it is missing.
	Create bool
	// BeforeCreate, where set, is asked before that; its error is the push's.
	BeforeCreate func(context.Context) error
	// OnOutcome, where set, is called with each outcome as it arrives.
	OnOutcome func(api.Outcome)
}

// Pusher pushes one service's snapshots. One push runs at a time.
type Pusher struct {
	cfg Config

	mu sync.Mutex
	// sure is set while the hub is taken to hold what it acknowledged;
	// confirmed, once it has answered this Pusher. What an earlier run knew is
	// good enough to push upon, since the hub compares, but not to push nothing.
	sure, confirmed bool
}

// Result of a push.
type Result struct {
	Commit object.ID
	Tree   object.ID
	// UpToDate is set where the hub had the tree already. It has told nobody,
	// then, so there are no outcomes.
	UpToDate bool
	// Created is set where the repository was missing and was created.
	Created  bool
	Objects  int   // sent
	Bytes    int64 // of the pack that was sent
	Outcomes []api.Outcome
	// Messages are the lines of the hub's that are no outcomes.
	Messages []string
	Timings  Timings
}

// Timings are the parts of a push.
type Timings struct {
	Prepare time.Duration // finding what to send, and asking where that was needed
	Send    time.Duration // until the request was written
	Wait    time.Duration // from then until the hub's answer began
	Answer  time.Duration // from then until it ended
	Total   time.Duration
}

// ErrNoRepository is the error for a repository that the hub does not have.
var ErrNoRepository = errors.New("the hub has no such repository")

// New returns a Pusher.
func New(cfg Config) *Pusher {
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	cfg.BaseURL = strings.TrimRight(cfg.BaseURL, "/")
	commit, _ := cfg.Source.Acknowledged()
	return &Pusher{cfg: cfg, sure: !commit.IsZero()}
}

// maxAttempts is how often a push is tried on a hub that answers: as
// remembered, as asked, and once more with everything.
const maxAttempts = 4

// Push makes the hub's branch hold tree. After an error nothing is known about
// the hub, and the next Push asks.
func (p *Pusher) Push(ctx context.Context, tree object.ID) (Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	start := time.Now()
	a := attempt{pusher: p, tree: tree, begun: start}
	var refused error
	for range maxAttempts {
		done, err := a.try(ctx)
		if done {
			p.sure, p.confirmed = true, true
			a.result.Timings.Total = time.Since(start)
			return a.result, p.cfg.Source.Acknowledge(a.result.Commit, tree)
		}
		p.sure = false
		var rejected *RejectedError
		switch {
		case errors.As(err, &rejected):
			a.full = a.asked // what the hub said it holds was not enough
			refused = err
		case errors.Is(err, ErrNoRepository) && p.cfg.Create && !a.result.Created:
			if err := p.create(ctx); err != nil {
				return Result{}, err
			}
			a.result.Created = true
		default:
			return Result{}, err
		}
	}
	return Result{}, refused
}

// Doubt makes the next Push ask the hub what it holds.
func (p *Pusher) Doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sure = false
}

// Sure reports whether the hub is taken to hold what it acknowledged.
func (p *Pusher) Sure() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sure && p.confirmed
}

// attempt is the state of one Push over its tries.
type attempt struct {
	pusher *Pusher
	tree   object.ID
	begun  time.Time
	full   bool // send everything
	asked  bool // the hub was asked for its head
	result Result
}

// try pushes once.
func (a *attempt) try(ctx context.Context) (done bool, err error) {
	p, src := a.pusher, a.pusher.cfg.Source
	old, base := src.Acknowledged()
	if !p.sure || base == a.tree && !p.confirmed {
		if old, err = p.Head(ctx); err != nil {
			return false, err
		}
		a.asked = true
		base = object.ID{}
		if !old.IsZero() {
			base = src.TreeOf(old)
		}
	}
	a.result = Result{Tree: a.tree, Commit: old, Created: a.result.Created}
	if base == a.tree && !a.full {
		a.result.UpToDate = true
		return true, nil
	}
	if a.full {
		base = object.ID{}
	}
	if a.result.Commit, err = src.Commit(a.tree, old); err != nil {
		return false, fmt.Errorf("preparing the push of %q: %w", p.cfg.Name, err)
	}
	ids, err := src.Difference(a.tree, base)
	if err != nil {
		return false, fmt.Errorf("preparing the push of %q: %w", p.cfg.Name, err)
	}
	pack, err := newPack(src, append(ids, a.result.Commit))
	if err != nil {
		return false, fmt.Errorf("preparing the push of %q: %w", p.cfg.Name, err)
	}
	a.result.Objects, a.result.Bytes = len(ids)+1, pack.size
	a.result.Timings.Prepare = time.Since(a.begun)
	if err := p.send(ctx, old, pack, &a.result); err != nil {
		return false, err
	}
	return true, nil
}

// Head returns the commit at the hub's branch, zero where there is none. The
// error is ErrNoRepository where there is no repository.
func (p *Pusher) Head(ctx context.Context) (object.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	url := p.cfg.BaseURL + "/" + p.cfg.Name + ".git/info/refs?service=git-receive-pack"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return object.ID{}, fmt.Errorf("asking the hub for %q: %w", p.cfg.Name, err)
	}
	resp, err := p.cfg.Client.Do(req)
	if err != nil {
		return object.ID{}, fmt.Errorf("asking the hub for %q: %w", p.cfg.Name, err)
	}
	defer drain(resp.Body)
	if err := checkStatus(resp); err != nil {
		return object.ID{}, fmt.Errorf("asking the hub for %q: %w", p.cfg.Name, err)
	}
	id, err := readRef(resp.Body, branch)
	if err != nil {
		return object.ID{}, fmt.Errorf("asking the hub for %q: %w", p.cfg.Name, err)
	}
	return id, nil
}

// create creates the repository. One that is there meanwhile is as good.
func (p *Pusher) create(ctx context.Context) error {
	if p.cfg.BeforeCreate != nil {
		if err := p.cfg.BeforeCreate(ctx); err != nil {
			return err
		}
	}
	body := strings.NewReader(`{"name":"` + p.cfg.Name + `"}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.BaseURL+"/api/repositories", body)
	if err != nil {
		return fmt.Errorf("creating repository %q: %w", p.cfg.Name, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.cfg.Client.Do(req)
	if err != nil {
		return fmt.Errorf("creating repository %q: %w", p.cfg.Name, err)
	}
	defer drain(resp.Body)
	if resp.StatusCode == http.StatusConflict {
		return nil
	}
	if err := checkStatus(resp); err != nil {
		return fmt.Errorf("creating repository %q: %w", p.cfg.Name, err)
	}
	return nil
}
