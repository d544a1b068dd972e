package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// Answer of a service.
type Answer struct {
	Status int
	Body   string
	Took   time.Duration
}

// Get asks a devspace's service through the API server's proxy, as one from
// outside the cluster must. The path may have a query.
func (h *Harness) Get(ctx context.Context, namespace, service string, port int, path string) (Answer, error) {
	client, ok := h.Clients.CoreV1().RESTClient().(*rest.RESTClient)
	if !ok {
		return Answer{}, fmt.Errorf("asking %s: the cluster's client is a fake", service)
	}
	path, query, _ := strings.Cut(path, "?")
	request := client.Get().Namespace(namespace).Resource("services").
		Name(service + ":" + strconv.Itoa(port)).SubResource("proxy").Suffix(path)
	for pair := range strings.SplitSeq(query, "&") {
		if name, value, found := strings.Cut(pair, "="); found {
			request.Param(name, value)
		}
	}
	url := request.URL().String()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Answer{}, fmt.Errorf("asking %s: %w", service, err)
	}
	begun := time.Now()
	response, err := client.Client.Do(r)
	if err != nil {
		return Answer{}, fmt.Errorf("asking %s: %w", service, err)
	}
	defer response.Body.Close()
	var body strings.Builder
	if _, err := io.Copy(&body, response.Body); err != nil {
		return Answer{}, fmt.Errorf("reading %s's answer: %w", service, err)
	}
	return Answer{Status: response.StatusCode, Body: body.String(), Took: time.Since(begun)}, nil
}

// Until asks until an answer satisfies ok, at most for limit, and returns that
// answer and the time it came.
func (h *Harness) Until(ctx context.Context, limit time.Duration, ask func(context.Context) (Answer, error), ok func(Answer) bool) (Answer, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last Answer
	var lastErr error
	for {
		answer, err := ask(ctx)
		if err == nil && ok(answer) {
			return answer, time.Now(), nil
		}
		if ctx.Err() != nil {
			return last, time.Time{}, fmt.Errorf("waiting %s for the right answer: last was %d %q: %w", limit, last.Status, last.Body, errors.Join(lastErr, ctx.Err()))
		}
		last, lastErr = answer, err
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}
