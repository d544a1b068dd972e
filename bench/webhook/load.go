package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// client sends one review, over and over.
type client struct {
	http     *http.Client
	url      string
	review   []byte
	injected bool
}

// newClient returns a client as the API server is one.
func newClient(server ready, connections int, review []byte, injected bool) *client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(server.CA)
	return &client{
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: api.WebhookNames()[0], NextProtos: []string{"http/1.1"}},
		}},
		url: "https://" + server.Address + "/mutate", review: review, injected: injected,
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// post sends the review and returns the answer's body.
func (c *client) post(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(c.review))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the answer is %d %.300s", response.StatusCode, body)
	}
	return body, err
}

// ask sends the review and looks at the answer as closely as it is cheap.
func (c *client) ask(ctx context.Context) error {
	body, err := c.post(ctx)
	if err != nil {
		return err
	}
	if !bytes.Contains(body, []byte(`"allowed":true`)) || bytes.Contains(body, []byte(`"patch":`)) != c.injected {
		return fmt.Errorf("the answer is %.300s", body)
	}
	return nil
}

// check looks at one answer closely.
func (c *client) check(ctx context.Context) error {
	body, err := c.post(ctx)
	if err != nil {
		return err
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return err
	}
	if review.Response == nil || !review.Response.Allowed || len(review.Response.Warnings) > 0 {
		return fmt.Errorf("the answer is %+v", review.Response)
	}
	return nil
}

// workers runs work on each connection and joins times and errors.
func workers(n int, work func() ([]time.Duration, error)) ([]time.Duration, error) {
	var group sync.WaitGroup
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	for range n {
		group.Go(func() {
			times, err := work()
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, times...), errors.Join(failed, err)
		})
	}
	group.Wait()
	return all, failed
}

// closed sends on each connection when it has its answer, and returns how long
// each answer took.
func (c *client) closed(ctx context.Context, connections int, length time.Duration) ([]time.Duration, error) {
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	end := time.Now().Add(length)
	return workers(connections, func() ([]time.Duration, error) {
		var times []time.Duration
		for {
			start := time.Now()
			if !start.Before(end) {
				return times, nil
			}
			if err := c.ask(ctx); err != nil {
				return times, err
			}
			times = append(times, time.Since(start))
		}
	})
}

// open sends at a constant rate, and returns for each answer how long after its
// review was due it came. The connection that is free next takes what is due
// next.
func (c *client) open(ctx context.Context, rate, connections int, length time.Duration) ([]time.Duration, error) {
	var next atomic.Int64
	start, total := time.Now(), int64(length.Seconds()*float64(rate))
	times, err := workers(connections, func() ([]time.Duration, error) {
		var times []time.Duration
		for {
			n := next.Add(1) - 1
			if n >= total {
				return times, nil
			}
			due := start.Add(time.Duration(n) * time.Second / time.Duration(rate))
			time.Sleep(time.Until(due))
			if err := c.ask(ctx); err != nil {
				return times, err
			}
			times = append(times, time.Since(due))
		}
	})
	slices.Sort(times)
	return times, err
}
