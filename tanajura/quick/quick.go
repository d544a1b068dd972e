// Package quick takes in the push of one save without starting a git.
//
//	q := quick.New(h.Command)
//	err := q.Take(path, quick.Push{Old: old, New: commit, Pack: pack})
//	if errors.Is(err, quick.ErrDoubt) { … leave it to git receive-pack … }
//
// For git, a push is four processes, and a walk over all directories of the old
// tree, to see that nothing is missing: tens of milliseconds that grow with the
// tree. A save is a small pack with one commit on top of the branch, the
// directories from the root to what changed, and new files. Here it is checked
// for what git checks, in memory, by comparing only those directories with the old
// ones, and put where git puts it: a pack and its index, and the branch under
// git's own lock. Any git can work on the repository meanwhile.
//
// Whatever is not as simple as that, or is wrong, is left to git, which knows
// all of its own rules and tells the pusher which was broken: a delta, a second
// ref, another parent, a file that came from another directory, a new name that may
// mean git's own files, anything that does not parse. Nothing has changed then.
//
// What pushes can cost is bounded by MaxPack, maxContent, maxObjects, maxTrees and
// maxTurns.
package quick

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/formicarium/formicarium/internal/api"
)

// MaxPack is the most bytes of a pack that is taken: a save of some hundred
// files. With more, starting git is not what takes the time.
const MaxPack = 1 << 20

// ErrDoubt says that a push was left alone, for git to judge.
var ErrDoubt = errors.New("left to git")

// Push is a move of the hub's branch.
type Push struct {
	Old, New string // commits, in hex
	Pack     []byte
}

// maxTurns bounds the pushes that are looked at at once: each may hold some 70 MB
// if it is made for that.
const maxTurns = 3

// Taker takes pushes. It may be used concurrently.
type Taker struct {
	readers *readers
	turns   chan struct{}
}

// Command makes a git process.
type Command func(ctx context.Context, protocol string, args ...string) *exec.Cmd

// New returns a Taker.
func New(command Command) *Taker {
	return &Taker{newReaders(command), make(chan struct{}, maxTurns)}
}

// Take carries out a push into the repository at path. After an error that is
// not ErrDoubt the branch is what it was.
func (t *Taker) Take(path string, p Push) error {
	if !plumbing.IsHash(p.Old) || !plumbing.IsHash(p.New) || len(p.Pack) > MaxPack {
		return ErrDoubt
	}
	select {
	case t.turns <- struct{}{}:
		defer func() { <-t.turns }()
	default:
		return fmt.Errorf("%w: %d other pushes are being looked at", ErrDoubt, maxTurns)
	}
	parsed, err := parsePack(p.Pack)
	if err != nil {
		return err
	}
	// Another repository may be made in this one's place: it is none of this
	// push's business.
	root, err := os.OpenRoot(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDoubt, err)
	}
	defer root.Close()
	lock, err := lockBranch(root)
	if err != nil {
		return err
	}
	defer lock.release()
	if head, err := root.ReadFile(branch); err != nil || strings.TrimSpace(string(head)) != p.Old {
		return fmt.Errorf("%w: the branch is not at %s", ErrDoubt, p.Old)
	}
	old, err := t.readers.of(path)
	if err != nil {
		return err
	}
	if err := check(parsed, plumbing.NewHash(p.New), plumbing.NewHash(p.Old), old.object); err != nil {
		return err
	}
	if err := parsed.write(root, "objects/pack"); err != nil {
		return err
	}
	return lock.move(p.New)
}

const (
	branch   = "refs/heads/" + api.HubBranch // its file
	lockName = branch + ".lock"
)

// branchLock is git's lock of the branch: while its file is there, no git moves
// the branch.
type branchLock struct {
	root *os.Root
	file *os.File // nil once it is released
}

func lockBranch(root *os.Root) (*branchLock, error) {
	file, err := root.OpenFile(lockName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil { // git waits for it, or says who has it
		return nil, fmt.Errorf("%w: %w", ErrDoubt, err)
	}
	return &branchLock{root, file}, nil
}

// move moves the branch and releases the lock.
func (l *branchLock) move(commit string) error {
	_, err := l.file.WriteString(commit + "\n")
	if err = errors.Join(err, l.file.Close()); err == nil {
		err = l.root.Rename(lockName, branch)
	}
	if err != nil {
		l.root.Remove(lockName)
		err = fmt.Errorf("moving the branch: %w", err)
	}
	l.file = nil
	return err
}

func (l *branchLock) release() {
	if l.file != nil {
		l.file.Close()
		l.root.Remove(lockName)
	}
}

// Report is git's answer to a push that went well, to a client that reads
// side-band-64k, with its flush-pkt.
func Report() []byte {
	line := func(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }
	report := line("unpack ok\n") + line("ok "+branch+"\n") + "0000"
	var b bytes.Buffer
	b.WriteString(line("\x01" + report))
	b.WriteString("0000")
	return b.Bytes()
}
