package smarthttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/formicarium/formicarium/tanajura/hub"
)

// process is one run of git for one request.
type process struct {
	protocol string
	args     []string
	stdin    io.Reader // nil where there is none
	stdout   io.Writer
	answer   *answer // to which stdout leads
}

const (
	// chunk is the unit of streaming: what a Linux pipe holds.
	chunk = 64 << 10
	// endDelay is how long git may take to end by itself when its input broke
	// off.
	endDelay = 3 * time.Second
	// maxRun ends a git that a client keeps busy, say with a pack that unpacks
	// to terabytes: the largest push takes a quarter of it at 1 MB/s.
	maxRun = time.Hour
)

// run runs git from its start to its end, or to the client's. An error that
// wraps errSent came after the first byte of the answer.
func (x *exchange) run(ctx context.Context, p process) error {
	if err := x.acquire(ctx); err != nil {
		return err
	}
	defer x.release()
	ctx, cancel := context.WithTimeout(ctx, maxRun)
	defer cancel()
	cmd := x.hub.Command(ctx, p.protocol, p.args...)
	stderr := &tail{}
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("running git: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("running git: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running git: %w", err)
	}
	ended := make(chan struct{})
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		if !x.feed(stdin, p.stdin) {
			return
		}
		// git sees the end of its input, finds that the pack is not whole,
		// and clears its temporary files, which it does not if it is killed.
		select {
		case <-ended:
		case <-time.After(endDelay):
			cancel()
		}
	}()
	_, copyErr := io.CopyBuffer(onlyWriter{p.stdout}, stdout, make([]byte, chunk))
	if copyErr != nil {
		_, _ = io.Copy(io.Discard, stdout) // let it end
	}
	err = hub.Reap(ctx, cmd)
	close(ended)
	<-fed
	if err == nil {
		err = copyErr
	}
	return x.verdict(p, err, stderr.String())
}

// feed copies the request to git and reports whether the request broke off.
func (x *exchange) feed(stdin io.WriteCloser, request io.Reader) (broken bool) {
	defer stdin.Close()
	if request == nil {
		return false
	}
	// A failed write is git's affair: it ended, and says why.
	_, _ = io.CopyBuffer(onlyWriter{stdin}, request, make([]byte, chunk))
	return x.body.err() != nil
}

// verdict makes the error of a run from how it ended.
func (x *exchange) verdict(p process, err error, stderr string) error {
	var status *statusError
	switch broken := x.body.err(); {
	case broken != nil:
		x.log.Info("request broken off", "command", p.args[0], "error", broken)
		if !errors.As(broken, &status) {
			return errSent // there is nobody to be told
		}
		if p.answer.begun {
			return fmt.Errorf("%w: %w", errSent, status)
		}
		return status
	case err == nil:
		return nil
	case x.r.Context().Err() != nil:
		x.log.Info("client gone", "command", p.args[0])
		return errSent
	}
	x.log.Warn("git failed", "command", p.args[0], "error", err, "stderr", stderr)
	if p.answer.begun {
		return errSent
	}
	return &statusError{http.StatusInternalServerError, "git " + p.args[0] + " failed: " + firstLine(stderr)}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// onlyWriter hides other methods of a writer, so that io.CopyBuffer uses its
// buffer and each chunk is sent when it is there.
type onlyWriter struct{ io.Writer }

// tail keeps the first few KiB of what git says on stderr, for the log.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	const enough = 4 << 10
	if room := enough - t.Len(); room > 0 {
		t.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
