// Package tell tells the Stingers of a service's pods which commit to run, and
// gathers their answers.
//
//	stingers := tell.New(watch.Targets)
//	for outcome := range stingers.Tell(ctx, "orders", commit) { … }
//
// In a devspace hub and Stinger know each other by certificates (NewMutual).
//
// Where the Stingers are is another's knowledge: a watch on pods (package
// podwatch) or a fixed list (Static).
package tell

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
)

// Target is one container's Stinger.
type Target struct {
	Pod       string
	Container string
	URL       string // without a path: "https://10.1.2.3:24000"
	// Identity is what the certificate of a Stinger at an https URL has to
	// show; the zero one is of a Stinger outside a devspace, which is known by the
	// URL's host.
	Identity identity.Identity
}

// Find returns the Stingers of a service that can be asked now.
type Find func(service string) []Target

const (
	// Timeout is how long a Stinger may take to answer: a build runs inside.
	Timeout = 2 * time.Minute
	// maxAnswer bounds an answer: the last lines of a build and some figures.
	maxAnswer = 1 << 20
	// maxIdle is the most connections kept open to all Stingers together.
	maxIdle = 256
)

// Stingers tells Stingers by HTTP, over connections that it keeps.
type Stingers struct {
	find   Find
	client *http.Client
}

// New returns Stingers that asks those which find finds. It proves to none who it
// is, and never uses a proxy: pods are asked directly.
func New(find Find) *Stingers { return WithTransport(find, newTransport()) }

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         dial,
		MaxIdleConns:        maxIdle,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     10 * time.Minute, // between two saves
	}
}

// WithTransport is New with a transport of the caller's, such as one that adds
// credentials.
func WithTransport(find Find, transport http.RoundTripper) *Stingers {
	return &Stingers{find: find, client: &http.Client{
		Transport: transport,
		Timeout:   Timeout,
		// A Stinger redirects nobody; what does is none.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Tell asks all Stingers of the service at once and sends each one's outcome
// when it is there. The channel is closed after the last, at most Timeout
// later.
func (s *Stingers) Tell(ctx context.Context, service, commit string) <-chan api.Outcome {
	targets := s.find(service)
	outcomes := make(chan api.Outcome, len(targets)) // so that nobody waits for a reader
	var asked sync.WaitGroup
	for _, target := range targets {
		asked.Go(func() { outcomes <- s.ask(ctx, target, commit) })
	}
	go func() {
		asked.Wait()
		close(outcomes)
	}()
	return outcomes
}

func (s *Stingers) ask(ctx context.Context, target Target, commit string) api.Outcome {
	start := time.Now()
	outcome := api.Outcome{Pod: target.Pod, Container: target.Container}
	base, err := target.base()
	if err != nil {
		outcome.Error = err.Error()
		return outcome
	}
	result, err := s.pull(toward(ctx, target), base, commit)
	outcome.Millis = float64(time.Since(start).Microseconds()) / 1000
	outcome.Result = result
	if err != nil {
		outcome.Error = err.Error()
	}
	return outcome
}

func (s *Stingers) pull(ctx context.Context, base, commit string) (result api.PullResult, err error) {
	body, err := json.Marshal(api.PullRequest{Commit: commit})
	if err != nil {
		return result, fmt.Errorf("asking the Stinger: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/pull", bytes.NewReader(body))
	if err != nil {
		return result, fmt.Errorf("asking the Stinger: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return result, fmt.Errorf("asking the Stinger: %w", inner(err))
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return result, fmt.Errorf("reading the Stinger's answer: %w", inner(err))
	}
	// Of an api.Error, too, this takes the text.
	if err := json.Unmarshal(answer, &result); err != nil {
		return api.PullResult{}, fmt.Errorf("reading the Stinger's answer (HTTP %d): %w", response.StatusCode, err)
	}
	if response.StatusCode != http.StatusOK && result.Error == "" {
		return result, fmt.Errorf("the Stinger answered HTTP %d", response.StatusCode)
	}
	return result, nil
}

// inner leaves out "Post URL:", which is in no one's interest.
func inner(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		if wrapped.Timeout() {
			return fmt.Errorf("no answer after %s", Timeout)
		}
		return wrapped.Err
	}
	return err
}
