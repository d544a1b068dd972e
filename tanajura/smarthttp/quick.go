package smarthttp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/tanajura/quick"
)

// quickPush carries out a push without git where it is a save's, and writes
// git's answer to it. Else the rest of the request is what git has to read.
func (x *exchange) quickPush(name, path string, commands commandList, answer io.Writer) (rest io.Reader, done bool, err error) {
	length := x.r.ContentLength
	if length < 0 || length > quick.MaxPack || x.r.Header.Get("Content-Encoding") != "" || !commands.sideBand ||
		len(commands.updates) != 1 || commands.updates[0].ref != "refs/heads/"+api.HubBranch || commands.options {
		return x.body, false, nil
	}
	pack, err := io.ReadAll(x.body) // bounded by length
	if err != nil {
		var status *statusError
		if errors.As(err, &status) {
			return nil, false, status
		}
		return nil, false, errSent // there is nobody to be told
	}
	push := quick.Push{Old: commands.updates[0].old, New: commands.updates[0].new, Pack: pack}
	switch err := x.Handler.quick.Take(path, push); {
	case errors.Is(err, quick.ErrDoubt):
		x.log.Debug("push left to git", "repository", name, "reason", err)
		return bytes.NewReader(pack), false, nil
	case err != nil:
		// git may do better, or says what is wrong.
		x.log.Warn("push left to git", "repository", name, "error", err)
		return bytes.NewReader(pack), false, nil
	}
	x.recent.add(name, push)
	// The push is done, and pods must run it, whether or not the pusher still
	// listens.
	_, _ = answer.Write(quick.Report())
	return nil, true, nil
}

// recentPacks are the packs of the latest pushes, which the Stingers that are
// told of them ask for a moment later. It is safe for concurrent use.
type recentPacks struct {
	mu    sync.Mutex
	packs []recentPack // the newest last
}

type recentPack struct {
	name      string
	have, now string // commits
	answer    []byte // made once: all pods of a service may ask at the same time
}

// maxRecent is the most packs that are kept, each of quick.MaxPack at most and
// mostly of a few KB.
const maxRecent = 8

func (r *recentPacks) add(name string, push quick.Push) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Two pushes to one repository are told one after the other; a Stinger
	// that is late asks git.
	if len(r.packs) == maxRecent {
		r.packs = append(r.packs[:0], r.packs[1:]...)
	}
	r.packs = append(r.packs, recentPack{name, push.Old, push.New, packAnswer(push.Old, push.Pack)})
}

// find returns the answer that leads from one commit to another. It is shared.
func (r *recentPacks) find(name, have, want string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.packs {
		if p.name == name && p.have == have && p.now == want {
			return p.answer
		}
	}
	return nil
}

// maxPlain is more than a Stinger's request has: a line of some 150 bytes, one
// of 50, and two marks.
const maxPlain = 1 << 10

// quickFetch answers a Stinger that wants what was just pushed on top of what it
// has. Else the request is what git has to read.
func (x *exchange) quickFetch(name, protocol string, out *answer) (request io.Reader, done bool, err error) {
	if length := x.r.ContentLength; length < 0 || length > maxPlain || protocol != "" || x.r.Header.Get("Content-Encoding") != "" {
		return x.body, false, nil
	}
	text, err := io.ReadAll(x.body) // bounded by length
	if err != nil {
		return nil, false, errSent
	}
	request = bytes.NewReader(text)
	want, have, ok := readPlain(text)
	if !ok {
		return request, false, nil
	}
	// The branch is asked because the repository may be another by that name.
	head, err := x.hub.Head(name)
	if err != nil {
		return nil, false, err
	}
	found := x.recent.find(name, have, want)
	if found == nil || head != want {
		return request, false, nil
	}
	if _, err := out.Write(found); err != nil {
		return nil, false, errSent // there is nobody to be told
	}
	return nil, true, nil
}

// readPlain reads a request that wants one commit and has one, and asks for
// nothing special: what the answer to it is does not depend on anything else.
func readPlain(text []byte) (want, have string, ok bool) {
	var raw bytes.Buffer
	source := bytes.NewReader(text)
	var lines []string
	for source.Len() > 0 {
		line, flush, err := readPacket(source, &raw)
		if err != nil {
			return "", "", false
		}
		if flush {
			lines = append(lines, "")
			continue
		}
		lines = append(lines, strings.TrimSuffix(string(line), "\n"))
	}
	if len(lines) != 4 || lines[1] != "" || lines[3] != "done" {
		return "", "", false
	}
	wanted, capabilities, _ := strings.Cut(strings.TrimPrefix(lines[0], "want "), " ")
	have = strings.TrimPrefix(lines[2], "have ")
	if "want "+wanted+" "+capabilities != lines[0] || "have "+have != lines[2] || !isHex(wanted) || !isHex(have) {
		return "", "", false
	}
	sideBand := false
	for capability := range strings.FieldsSeq(capabilities) {
		switch {
		case capability == "side-band-64k":
			sideBand = true
		case strings.HasPrefix(capability, "multi_ack"), capability == "no-done", capability == "filter":
			return "", "", false
		}
	}
	return wanted, have, sideBand
}

// packAnswer is git's answer to such a request: the commit that both have, the
// pack on channel 1, and a flush-pkt.
func packAnswer(have string, pack []byte) []byte {
	var b bytes.Buffer
	b.WriteString(packet("ACK " + have + "\n"))
	for part := range slices.Chunk(pack, maxPacket-5) {
		fmt.Fprintf(&b, "%04x\x01%s", len(part)+5, part)
	}
	b.WriteString(flushPacket)
	return b.Bytes()
}
