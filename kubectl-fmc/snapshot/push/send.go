package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/object"
)

const branch = "refs/heads/" + api.HubBranch

// RejectedError is the hub's refusal of a push that it understood.
type RejectedError struct{ Reason string }

func (e *RejectedError) Error() string { return "the hub refused the push: " + e.Reason }

// StatusError is an answer of the hub's that is no success.
type StatusError struct {
	Status  int
	Message string
}

func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the hub answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("the hub answered %d: %s", e.Status, e.Message)
}

// send sends the update of the branch and the pack, and reads the answer.
func (p *Pusher) send(ctx context.Context, old object.ID, pk *pack, result *Result) error {
	command := fmt.Sprintf("%s %s %s\x00report-status side-band-64k object-format=sha1 agent=formicarium/%s",
		old, result.Commit, branch, version.String())
	head := append(appendPacket(nil, command), flushPacket...)
	ctx, dog, stop := guard(ctx, stallAfter)
	defer stop()
	ctx, clock := traced(ctx)
	url := p.cfg.BaseURL + "/" + p.cfg.Name + ".git/git-receive-pack"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return fmt.Errorf("pushing to %q: %w", p.cfg.Name, err)
	}
	req.GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(dog.watch(io.MultiReader(bytes.NewReader(head), pk.reader()))), nil
	}
	req.Body, _ = req.GetBody()
	req.ContentLength = int64(len(head)) + pk.size
	req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
	req.Header.Set("Accept", "application/x-git-receive-pack-result")
	req.Header.Set(api.HeaderOutcomes, api.OutcomesJSON)
	resp, err := p.cfg.Client.Do(req)
	if err != nil {
		return fmt.Errorf("pushing to %q: %w", p.cfg.Name, why(ctx, err))
	}
	defer drain(resp.Body)
	err = checkStatus(resp)
	if err == nil {
		err = why(ctx, p.readAnswer(dog.watch(resp.Body), result))
	}
	clock.measure(&result.Timings)
	if err != nil {
		return fmt.Errorf("pushing to %q: %w", p.cfg.Name, err)
	}
	return nil
}

// why returns the reason for which a request's context ended, where that is
// what broke it off.
func why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// clock notes when the steps of a request were taken, in nanoseconds since
// start. Where the hub answers early, they are noted from several goroutines.
type clock struct {
	start        time.Time
	wrote, first atomic.Int64
}

func traced(ctx context.Context) (context.Context, *clock) {
	c := &clock{start: time.Now()}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { c.wrote.Store(int64(time.Since(c.start))) },
		GotFirstResponseByte: func() { c.first.Store(int64(time.Since(c.start))) },
	}), c
}

// measure sets the parts of a request that has ended.
func (c *clock) measure(t *Timings) {
	wrote, first := time.Duration(c.wrote.Load()), time.Duration(c.first.Load())
	t.Send, t.Wait, t.Answer = wrote, max(0, first-wrote), time.Since(c.start)-first
}

// maxReport bounds the hub's report on one ref, in bytes.
const maxReport = 64 << 10

// readAnswer reads the answer to a push: the report and, beside it, outcomes
// and progress.
func (p *Pusher) readAnswer(body io.Reader, result *Result) error {
	var report bytes.Buffer
	lines := lineWriter{line: func(line string) { p.readLine(line, result) }}
	packets := newPackets(body)
	for {
		data, err := packets.next()
		if errors.Is(err, io.EOF) || err == nil && data == nil {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the hub's answer: %w", err)
		}
		if len(data) == 0 {
			continue
		}
		switch band := data[0]; band {
		case 1:
			if report.Len()+len(data) > maxReport {
				return fmt.Errorf("reading the hub's answer: its report is longer than %d bytes", maxReport)
			}
			report.Write(data[1:])
		case 2:
			lines.write(data[1:])
		case 3:
			return &RejectedError{Reason: strings.TrimSpace(string(data[1:]))}
		default:
			return fmt.Errorf("reading the hub's answer: unknown side-band %d", band)
		}
	}
	lines.flush()
	return readReport(&report)
}

// readLine takes one line of side-band 2.
func (p *Pusher) readLine(line string, result *Result) {
	var o api.Outcome
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &o) != nil {
		result.Messages = append(result.Messages, line)
		return
	}
	result.Outcomes = append(result.Outcomes, o)
	if p.cfg.OnOutcome != nil {
		p.cfg.OnOutcome(o)
	}
}

// readReport parses "unpack ok", "ok REF" or "ng REF reason".
func readReport(report io.Reader) error {
	var unpack, ref string
	packets := newPackets(report)
	for {
		data, err := packets.next()
		if err != nil || data == nil {
			break
		}
		line := strings.TrimSuffix(string(data), "\n")
		if rest, found := strings.CutPrefix(line, "unpack "); found {
			unpack = rest
		} else if ref == "" {
			ref = line
		}
	}
	reason, refused := strings.CutPrefix(ref, "ng "+branch+" ")
	switch {
	case unpack == "ok" && ref == "ok "+branch:
		return nil
	case unpack != "ok" && unpack != "":
		return &RejectedError{Reason: "unpacking: " + unpack}
	case refused:
		return &RejectedError{Reason: reason}
	}
	return errors.New("reading the hub's answer: it ended without a report")
}

// drainLimit is how much of an answer is read so that its connection can be
// used again.
const drainLimit = 64 << 10

func drain(body io.ReadCloser) {
	io.CopyN(io.Discard, body, drainLimit)
	body.Close()
}

// checkStatus returns the error that an answer is.
func checkStatus(resp *http.Response) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	if resp.StatusCode == http.StatusNotFound {
		return ErrNoRepository
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	var e api.Error
	if json.Unmarshal(text, &e) != nil || e.Error == "" {
		e.Error = strings.TrimSpace(string(text))
	}
	return &StatusError{Status: resp.StatusCode, Message: e.Error}
}
