package smarthttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/formicarium/formicarium/internal/api"
)

// keepAlive is the pause after which an empty packet is sent while Stingers
// work: git's own number (receive.keepAlive).
const keepAlive = 5 * time.Second

// push answers a push and tells the Stingers.
func (x *exchange) push(name string) error {
	protocol, err := x.checkPost(receivePack)
	if err != nil {
		return err
	}
	path, err := x.hub.Path(name)
	if err != nil {
		return err
	}
	if err := x.hub.Admit(name); err != nil {
		return err
	}
	// Before the list of refs is read, which is held in memory.
	if err := x.acquire(x.r.Context()); err != nil {
		return err
	}
	if err := x.openBody(x.hub.Limits().Push, "a push (TANAJURA_MAX_PUSH)"); err != nil {
		return err
	}
	x.body.room = func(bytes int) error { return x.hub.Receive(name, int64(bytes)) }
	commands, head, err := readCommands(x.body)
	if err != nil {
		var status *statusError
		if errors.As(err, &status) {
			return status
		}
		return &statusError{http.StatusBadRequest, err.Error()}
	}
	if err := x.hub.AdmitRefs(name, commands.created()); err != nil {
		return err
	}
	before, err := x.hub.Head(name)
	if err != nil {
		return err
	}
	out := x.answer("application/x-git-receive-pack-result")
	held := &holdFlush{w: out}
	// A push that has arrived is carried out, even if the pusher does not wait
	// for the answer.
	rest, done, err := x.quickPush(name, path, commands, held)
	if !done && err == nil {
		err = x.run(context.WithoutCancel(x.r.Context()), process{
			protocol: protocol,
			args:     []string{receivePack.command(), "--stateless-rpc", path},
			stdin:    io.MultiReader(bytes.NewReader(head), rest),
			stdout:   held,
			answer:   out,
		})
	}
	x.release() // pods may build for long, and have to fetch before
	x.hub.Pushed(name)
	commit := x.moved(name, before, commands)
	if err != nil && commit == "" {
		return breakOff(out, commands, err)
	}
	return x.conclude(out, held, name, commit, commands.sideBand)
}

// conclude ends the answer to a push, with the Stingers' outcomes where there
// is a commit to tell them of.
func (x *exchange) conclude(out *answer, held *holdFlush, name, commit string, sideBand bool) error {
	flush, err := held.end()
	if err == nil {
		err = out.begin() // git may have had nothing to say
	}
	lines := &progress{w: out, mute: err != nil || !flush || !sideBand}
	end := func() {
		if flush && err == nil {
			_, err = io.WriteString(out, flushPacket)
			flush = false
		}
	}
	if lines.mute {
		end() // this client waits for git's answer only
	}
	if commit != "" && x.teller != nil {
		// From here on the push is done, and pods must run it whether or not
		// the pusher still listens. The Teller ends by itself.
		ctx := context.WithoutCancel(x.r.Context())
		x.tell(ctx, lines, name, commit, x.r.Header.Get(api.HeaderOutcomes) == api.OutcomesJSON)
	}
	end()
	if err != nil {
		return errSent
	}
	return nil
}

// moved returns the commit to which the push moved the branch that pods run;
// empty where it did not. Another push may have moved it further by now: that
// one tells.
func (x *exchange) moved(name, before string, commands commandList) string {
	want := commands.newID("refs/heads/" + api.HubBranch)
	if want == "" || want == before {
		return ""
	}
	if head, err := x.hub.Head(name); err != nil || head != want {
		return ""
	}
	return want
}

// tell tells the Stingers and writes their outcomes. A pusher that is gone
// stops the lines only.
func (x *exchange) tell(ctx context.Context, lines *progress, name, commit string, asJSON bool) {
	outcomes := x.teller.Tell(ctx, name, commit)
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for count := 0; ; {
		select {
		case <-tick.C:
			lines.line("")
		case outcome, more := <-outcomes:
			if !more {
				if count == 0 && !asJSON {
					lines.line(fmt.Sprintf("no pod of %s is running yet: it will clone when it starts\n", name))
				}
				return
			}
			count++
			x.log.Info("told", "service", name, "commit", commit, "pod", outcome.Pod, "container", outcome.Container,
				"ms", outcome.Millis, "error", outcome.Error+outcome.Result.Error)
			if asJSON {
				lines.line(jsonLine(outcome))
			} else {
				lines.line(textLines(outcome))
			}
		}
	}
}

// breakOff tells why a push was broken off in mid-answer, where the client can
// be told.
func breakOff(out *answer, commands commandList, err error) error {
	var status *statusError
	if errors.Is(err, errSent) && errors.As(err, &status) && commands.sideBand {
		// Channel 3 is that of the fatal error. It is read only between
		// packets, which is where git's writes end.
		_, _ = io.WriteString(out.w, packet("\x03"+status.text+"\n"))
	}
	return err
}

// progress writes to channel 2, which git shows to its user line by line.
type progress struct {
	w    io.Writer
	mute bool
}

// line writes text, in as many packets as it takes; without text, an empty
// packet. After an error it writes no more.
func (s *progress) line(text string) {
	if s.mute {
		return
	}
	var packets bytes.Buffer
	for {
		n := min(len(text), maxPacket-5)
		packets.WriteString(packet("\x02" + text[:n]))
		if text = text[n:]; text == "" {
			break
		}
	}
	_, err := s.w.Write(packets.Bytes())
	s.mute = err != nil
}
