package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// contentProtobuf is the content type of both requests and answers.
	contentProtobuf = "application/x-protobuf"
	// maxAnswer bounds what is read of an answer: a sentence and a number are
	// all that there should be.
	maxAnswer = 64 << 10
	// maxMessage bounds what is logged of it.
	maxMessage = 256
	// firstPause and maxPause bound the time between two attempts; it doubles.
	firstPause = time.Second
	maxPause   = 30 * time.Second
	// maxRetryAfter bounds what a collector may ask for: at five minutes its
	// pods have been replaced.
	maxRetryAfter = 5 * time.Minute
)

// otlpClient posts requests to a collector. It is used by one goroutine.
type otlpClient struct {
	url       string
	header    http.Header
	gzip      bool
	timeout   time.Duration // of an attempt
	patience  time.Duration // of a request with all its attempts
	pause     time.Duration // before the second attempt
	http      *http.Client
	transport *http.Transport
	notBefore time.Time // when the collector wants to hear of us again
}

func newOTLPClient(s OTLPSettings, version string) *otlpClient {
	header := http.Header{"User-Agent": {"formicarium-netra/" + version}}
	for name, values := range s.Headers {
		header[name] = values
	}
	header.Set("Content-Type", contentProtobuf)
	if s.Gzip {
		header.Set("Content-Encoding", "gzip")
	}
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: s.TLS,
		IdleConnTimeout: 90 * time.Second, // above the usual OTEL_BSP_SCHEDULE_DELAY
		// An answer would be unpacked to any size.
		DisableCompression: true,
		// The transport dials on when an attempt has been given up.
		DialContext:         (&net.Dialer{Timeout: s.Timeout}).DialContext,
		TLSHandshakeTimeout: s.Timeout,
	}
	return &otlpClient{
		url: s.Endpoint, header: header, gzip: s.Gzip, timeout: s.Timeout, patience: s.ExportTimeout, pause: firstPause,
		transport: transport,
		http: &http.Client{
			Transport: transport,
			// The headers, which hold secrets, go to the endpoint alone.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// unavailable is the error of an attempt that may be repeated.
type unavailable struct {
	err   error
	after time.Duration // not before
}

func (e *unavailable) Error() string { return e.err.Error() }

func (e *unavailable) Unwrap() error { return e.err }

// send posts a message until the collector has taken or refused it, or until
// the client's patience or ctx ends. From when hurry is closed there is one
// more attempt at most, made at once.
func (c *otlpClient) send(ctx context.Context, message []byte, hurry <-chan struct{}) (otlpAnswer, error) {
	wait(ctx, time.Until(c.notBefore), hurry)
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	if c.gzip {
		message = pack(message)
	}
	var before error
	for pause := c.pause; ; pause = min(2*pause, maxPause) {
		last := isClosed(hurry)
		answer, err := c.attempt(ctx, message)
		if err != nil && ctx.Err() != nil && before != nil {
			err = fmt.Errorf("giving up: %w", before) // it says more than that the time is over
		}
		var again *unavailable
		if !errors.As(err, &again) || last || ctx.Err() != nil {
			return answer, err
		}
		before = err
		// The jitter keeps the sidecars of a cluster, whose collector came back,
		// from coming back together.
		delay := max(again.after, pause/2+rand.N(pause))
		if again.after > 0 {
			c.notBefore = time.Now().Add(again.after)
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < delay && !isClosed(hurry) {
			return answer, fmt.Errorf("giving up: %w", err)
		}
		wait(ctx, delay, hurry)
	}
}

// attempt posts the message once.
func (c *otlpClient) attempt(ctx context.Context, message []byte) (otlpAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(message))
	if err != nil {
		return otlpAnswer{}, err
	}
	request.Header = c.header.Clone()
	response, err := c.http.Do(request)
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		return otlpAnswer{}, err
	case err != nil:
		return otlpAnswer{}, &unavailable{err: err}
	}
	defer response.Body.Close()
	// What cannot be read adds nothing to the status, which decides.
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode/100 == 2 {
		if kind != contentProtobuf {
			return otlpAnswer{}, nil
		}
		answer, err := readAnswer(body)
		if err != nil {
			return otlpAnswer{message: fmt.Sprintf("the collector's answer is not to be understood: %v", err)}, nil
		}
		answer.message = string(clip([]byte(answer.message)))
		return answer, nil
	}
	err = fmt.Errorf("posting to %s: %s%s", request.URL.Redacted(), response.Status, refusal(kind, body))
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return otlpAnswer{}, &unavailable{err, retryAfter(response.Header.Get("Retry-After"), time.Now())}
	}
	return otlpAnswer{}, err
}

// refusal returns what the body of an answer says of why, for a log.
func refusal(kind string, body []byte) string {
	text := ""
	switch {
	case kind == contentProtobuf:
		text, _ = readRefusal(body)
	case strings.HasPrefix(kind, "text/plain"):
		text = string(body)
	}
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	return ": " + text[:min(len(text), maxMessage)]
}

// retryAfter reads the header Retry-After: seconds or a date. One that is
// neither says nothing.
func retryAfter(value string, now time.Time) time.Duration {
	after := time.Duration(0)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		after = date.Sub(now)
	}
	return min(max(0, after), maxRetryAfter)
}

// pack compresses a message. The writer, which takes more than a megabyte, is
// not kept: batches are seconds apart.
func pack(message []byte) []byte {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err == nil {
		if _, err = w.Write(message); err == nil {
			err = w.Close()
		}
	}
	if err != nil { // neither the level nor a buffer can be at fault
		panic(err)
	}
	return packed.Bytes()
}

// wait waits until d has passed, ctx ends or hurry is closed.
func wait(ctx context.Context, d time.Duration, hurry <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-hurry:
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
