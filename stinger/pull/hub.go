package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/version"
)

const (
	// idleLimit is how long the hub may be silent: it sends progress or pack
	// bytes all the time while it works.
	idleLimit = 30 * time.Second
	// maxPack bounds what one fetch may bring: twice the 500 MB push that the
	// hub is made for. A pod's disk is not ours to fill.
	maxPack = 1 << 30
	// maxRefusal is how much of a refusal's text is read.
	maxRefusal = 1 << 10
	// reachLimit is how long a hub that does not answer is tried again. A hub
	// whose pod was just replaced may tell of a push before the Service's
	// address leads to it: the node's rules follow within a second or two.
	reachLimit = 5 * time.Second
	// maxRefs bounds the list of refs that is read to find one.
	maxRefs = 1 << 12
)

var (
	errNotOnHub = errors.New("the hub does not have the commit")
	errNoAnswer = errors.New("no answer")
	// ErrNothingPushed means that the hub has the repository and nobody has
	// pushed to it yet.
	ErrNothingPushed = errors.New("nothing has been pushed to the hub yet")
)

// hub is a repository on a git server, spoken to by the smart HTTP protocol,
// version 0, in its stateless form: one request for the tip where that is not
// known, and one for a pack.
type hub struct {
	url    string
	client *http.Client
}

// newHub returns a hub; transport may be nil.
func newHub(url string, transport http.RoundTripper) *hub {
	if transport == nil {
		transport = &http.Transport{
			// Never by a proxy: the hub is a neighbour in the cluster.
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			// Between two saves, so that the next finds a warm connection.
			IdleConnTimeout: 10 * time.Minute,
			// A pack is compressed already.
			DisableCompression: true,
		}
	}
	return &hub{url: strings.TrimSuffix(url, "/"), client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// tip returns the commit at the hub's branch.
func (h *hub) tip(ctx context.Context) (plumbing.Hash, error) {
	body, err := h.do(ctx, http.MethodGet, "/info/refs?service=git-upload-pack", nil)
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("asking the hub for its branch: %w", err)
	}
	defer body.Close()
	const want = "refs/heads/" + api.HubBranch
	lines := pktline.NewScanner(body)
	for n := 0; n < maxRefs && lines.Scan(); n++ {
		line, _, _ := bytes.Cut(lines.Bytes(), []byte{0})
		hex, name, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if name == want && plumbing.IsHash(hex) {
			return plumbing.NewHash(hex), nil
		}
	}
	if lines.Err() != nil {
		return plumbing.ZeroHash, fmt.Errorf("asking the hub for its branch: %w", lineError(lines))
	}
	return plumbing.ZeroHash, ErrNothingPushed
}

// answer is the hub's to a fetch. The pack ends with EOF; Close ends the
// request.
type answer struct {
	// common is set where the hub knows the commit that is here: the pack then
	// holds only what that lacks. It is thin where some of it may be differences
	// to what that has.
	common, thin bool
	pack         io.Reader
	io.Closer
}

// base is the commit that a fetch builds on; the zero value is none.
type base struct {
	commit plumbing.Hash
	// alone says that of the commit's history nothing may be taken for
	// granted, see uploadRequest.
	alone bool
}

// fetch asks for a commit: for all that it needs, but no history, where there
// is nothing to build on, else for what the base lacks.
func (h *hub) fetch(ctx context.Context, want plumbing.Hash, base base) (*answer, error) {
	body, err := h.do(ctx, http.MethodPost, "/git-upload-pack", uploadRequest(want, base))
	if err != nil {
		return nil, fmt.Errorf("fetching commit %.7s from the hub: %w", want, err)
	}
	a := &answer{Closer: body, thin: base.alone}
	if err := a.read(body); err != nil {
		body.Close()
		return nil, fmt.Errorf("fetching commit %.7s from the hub: %w", want, err)
	}
	return a, nil
}

// uploadRequest returns the request's body.
//
// On top of a base the hub is mostly not told that its history is missing
// here. It then looks at those directories only that changed, sends what
// lies between the two commits, too, which is little, and leaves out what it
// knows to be in the base. What it leaves out besides, as being in the base's
// history, is rarely needed: by a commit older than the base, or one that
// takes up old content, from a hub with reachability bitmaps. For these there
// is the base alone: depth 1 at both ends makes the hub compare the two trees
// and nothing else, for which it goes through all of the base's.
func uploadRequest(want plumbing.Hash, base base) []byte {
	var b bytes.Buffer
	e := pktline.NewEncoder(&b)
	thin := ""
	if base.alone {
		thin = " thin-pack"
	}
	// Writes to a buffer do not fail.
	_ = e.Encodef("want %s side-band-64k ofs-delta%s shallow no-progress agent=stinger/%s\n",
		want, thin, strings.ReplaceAll(version.String(), " ", "-"))
	nothing := base.commit.IsZero()
	if base.alone && !nothing {
		_ = e.Encodef("shallow %s\n", base.commit)
	}
	if base.alone || nothing {
		_ = e.Encodef("deepen 1\n")
	}
	_ = e.Flush()
	if !nothing {
		_ = e.Encodef("have %s\n", base.commit)
	}
	_ = e.Encodef("done\n")
	return b.Bytes()
}

// read reads what comes before the pack: with a depth, the commits that end
// the history, and a flush; then, without multi_ack and with one have, a
// single ACK or NAK.
func (a *answer) read(body io.Reader) error {
	lines := pktline.NewScanner(body)
	for lines.Scan() {
		line := bytes.TrimRight(lines.Bytes(), "\n")
		switch word, _, _ := strings.Cut(string(line), " "); word {
		case "", "shallow", "unshallow":
		case "ACK", "NAK":
			a.common = word == "ACK"
			a.pack = &limitReader{r: sideband.NewDemuxer(sideband.Sideband64k, body), left: maxPack}
			return nil
		default:
			return fmt.Errorf("the hub's answer has the unexpected line %.80q", line)
		}
	}
	return lineError(lines)
}

// lineError returns what ended the lines of the protocol: the hub may have
// said so itself.
func lineError(lines *pktline.Scanner) error {
	err := lines.Err()
	var said *pktline.ErrorLine
	switch {
	case err == nil:
		return io.ErrUnexpectedEOF
	case !errors.As(err, &said):
		return err
	case strings.Contains(said.Text, "not our ref"):
		return fmt.Errorf("%w (%s)", errNotOnHub, said.Text)
	}
	return fmt.Errorf("the hub says: %s", said.Text)
}

// do sends a request and returns the body of a successful answer. Where the
// hub cannot be reached it tries again for reachLimit: all requests only read.
func (h *hub) do(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	deadline := time.Now().Add(reachLimit)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		answer, err := h.try(ctx, method, path, body)
		if !errors.Is(err, errNoAnswer) || time.Now().Add(wait).After(deadline) {
			return answer, err
		}
		// What was kept may lead to a hub that is gone.
		h.client.CloseIdleConnections()
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// try sends a request once. It breaks off when the hub is silent for
// idleLimit.
func (h *hub) try(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	idle := time.AfterFunc(idleLimit, func() { cancel(fmt.Errorf("the hub was silent for %s", idleLimit)) })
	watched := &watchedBody{ctx: ctx, idle: idle, cancel: cancel}
	request, err := http.NewRequestWithContext(ctx, method, h.url+path, bytes.NewReader(body))
	if err != nil {
		watched.stop()
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		request.Header.Set("Accept", "application/x-git-upload-pack-result")
	}
	request.Header.Set("User-Agent", "git/stinger-"+version.String())
	response, err := h.client.Do(request)
	if err != nil {
		defer watched.stop()
		return nil, fmt.Errorf("%w: %w", errNoAnswer, watched.cause(err))
	}
	watched.body = response.Body
	if response.StatusCode != http.StatusOK {
		defer watched.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
		return nil, fmt.Errorf("HTTP %s: %s", response.Status, bytes.TrimSpace(text))
	}
	return watched, nil
}

// watchedBody is a body whose request is cancelled when nothing comes.
type watchedBody struct {
	body   io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	idle   *time.Timer
}

func (w *watchedBody) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	w.idle.Reset(idleLimit)
	if err != nil && err != io.EOF {
		err = w.cause(err)
	}
	return n, err
}

// Close reads what is left of a small rest, so that the connection serves the
// next request, too.
func (w *watchedBody) Close() error {
	_, _ = io.CopyN(io.Discard, w.body, maxRefusal)
	err := w.body.Close()
	w.stop()
	return err
}

func (w *watchedBody) stop() {
	w.idle.Stop()
	w.cancel(nil)
}

// cause returns why the request was cancelled, where it was, else err without
// the address, which is in the settings and may hold a password.
func (w *watchedBody) cause(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// limitReader is an io.LimitedReader that does not end quietly.
type limitReader struct {
	r    io.Reader
	left int64
}

func (l *limitReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("the hub sent more than %d MiB for one commit", int64(maxPack)>>20)
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
