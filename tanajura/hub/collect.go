package hub

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Limits bound what a hub may hold. A zero field has its default.
type Limits struct {
	// Repositories is the most repositories; default 200, twice the services
	// that a large devspace has.
	Repositories int
	// Push is the most bytes of one push, packed; default 1 GiB.
	Push int64
	// Repository is the most bytes of one repository on disk; default 4 GiB.
	Repository int64
	// CollectEvery is the number of pushes to a repository between two
	// collections; default 100, and so at most some 100 small packs.
	CollectEvery int
}

func (l Limits) withDefaults() Limits {
	if l.Repositories == 0 {
		l.Repositories = 200
	}
	if l.Push == 0 {
		l.Push = 1 << 30
	}
	if l.Repository == 0 {
		l.Repository = 4 << 30
	}
	if l.CollectEvery == 0 {
		l.CollectEvery = 100
	}
	return l
}

// Collection, the policy:
//
// Each save adds a small pack: a commit, some trees and a file. After every
// CollectEvery pushes to a repository so many of its smallest packs become one
// that each pack has at least twice the objects of the next smaller one: the
// work over n pushes is O(n log n), and the packs are O(log n). There are never
// loose objects, see gitConfig. Every fullEvery-th collection, and any that
// finds the repository above half of its size limit, is a full one: one pack of
// what the refs reach, one of what no ref reaches any more, and of that what is
// older than pruneAge is dropped. A forced push thus costs its space for a
// while only.
//
// History itself is kept as long as there is room. A repository that a full
// collection leaves above half of its limit is cut: its oldest kept commits
// become the boundary of a shallow repository, keepCommits from each branch's
// tip, and what lies behind them is dropped.
//
// What that comes to (make bench-hub): 10,000 saves of a file each, in a directory
// of 10,000 files that is 6.5 MB packed, leave a repository of 14 MB, 0.75 kB
// a save, with never more than some 105 packs. A push took 18 ms at the median in
// the first thousand and 23 to 26 in the last two, beside other work of the
// machine, and the hub 18 MB of memory; bench/README.md has the table.
//
// One collection runs at a time in a hub, at low priority, and pushes and
// fetches go on meanwhile.
const (
	fullEvery   = 10
	keepCommits = 20
	// pruneAge leaves alone the objects of pushes under way, and commits that
	// a Stinger was told of just before a forced push replaced them.
	pruneAge = 10 * time.Minute
	// collectTimeout ends a collection that would hold up the others.
	collectTimeout = 15 * time.Minute
	collectNice    = 10
	// packWindow is git's own default, which fetches do without.
	packWindow = "pack.window=10"
)

// usage is what the hub knows of a repository without looking.
type usage struct {
	size        int64 // bytes on disk, about: measured, plus what was pushed since
	collected   int64 // size after the last collection
	pushes      int   // since the last collection
	collections int
	collecting  bool
}

// Limits returns the limits in force.
func (h *Hub) Limits() Limits { return h.limits }

// Admit reports whether the repository has room for a push: ErrFull if not.
func (h *Hub) Admit(name string) error {
	path, err := h.Path(name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	u, known := h.usage[name]
	within := known && u.size < h.limits.Repository
	h.mu.Unlock()
	if within {
		return nil
	}
	size := diskSize(path)
	h.mu.Lock()
	h.usageOf(name).size = size
	h.mu.Unlock()
	if size >= h.limits.Repository {
		return fmt.Errorf("%w: repository %q has %d bytes of at most %d (TANAJURA_MAX_REPOSITORY); delete it and push again",
			ErrFull, name, size, h.limits.Repository)
	}
	return nil
}

// Receive takes note of bytes of a push that have come, and reports whether there
// is room for them: ErrFull if not. Pushes at once, each admitted while there was
// room, may thus exceed the repository's limit by one push, and no more.
func (h *Hub) Receive(name string, bytes int64) error {
	path, err := h.Path(name)
	if err != nil {
		return err
	}
	most := h.limits.Repository + h.limits.Push
	h.mu.Lock()
	u := h.usageOf(name)
	u.size += bytes
	within := u.size <= most
	h.mu.Unlock()
	if within {
		return nil
	}
	// Pushes that were broken off left nothing of what they were counted for.
	size := diskSize(path)
	h.mu.Lock()
	u.size = size
	h.mu.Unlock()
	if size+bytes > most {
		return fmt.Errorf("%w: repository %q has %d bytes of at most %d (TANAJURA_MAX_REPOSITORY), with the pushes that are under way",
			ErrFull, name, size, h.limits.Repository)
	}
	return nil
}

// Pushed takes note of a push, of whose bytes Receive has heard, and starts a
// collection in the background where one is due.
func (h *Hub) Pushed(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.usageOf(name)
	u.pushes++
	limit := h.limits.Repository
	// The second part keeps what cannot be made smaller from being tried at
	// every push.
	crowded := u.size > limit/2 && u.size-u.collected > limit/8
	if due := u.pushes >= h.limits.CollectEvery || crowded; !due || u.collecting || h.closed {
		return
	}
	u.collecting = true
	h.work.Add(1)
	go h.collectInTurn(name, u)
}

func (h *Hub) collectInTurn(name string, u *usage) {
	defer h.work.Done()
	select {
	case h.slot <- struct{}{}:
		defer func() { <-h.slot }()
	case <-h.ctx.Done():
		return
	}
	h.mu.Lock()
	u.pushes = 0
	u.collections++
	full := u.collections%fullEvery == 0
	h.mu.Unlock()

	start := time.Now()
	size, err := h.collect(name, full)
	h.mu.Lock()
	u.collecting = false
	if err == nil {
		u.size, u.collected = size, size
	}
	h.mu.Unlock()
	if err != nil {
		h.log.Warn("collecting", "repository", name, "error", err)
		return
	}
	h.log.Info("collected", "repository", name, "bytes", size, "took", time.Since(start).Round(time.Millisecond))
}

// collect runs one collection and returns the repository's size after it.
func (h *Hub) collect(name string, full bool) (int64, error) {
	path, err := h.Path(name)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(h.ctx, collectTimeout)
	defer cancel()
	half := h.limits.Repository / 2
	if !full && diskSize(path) <= half {
		_, err := h.git(ctx, path, "repack", "-d", "-q", "--geometric=2")
		return diskSize(path), err
	}
	if err := h.collectFully(ctx, path, pruneAge); err != nil {
		return 0, err
	}
	if size := diskSize(path); size <= half {
		return size, nil
	}
	// Objects younger than pruneAge are in what was measured; a cut must not
	// be made for them, or a big first push would cost all history.
	cut, err := h.cutHistory(ctx, path)
	if err != nil || !cut {
		return diskSize(path), err
	}
	err = h.collectFully(ctx, path, pruneAge)
	return diskSize(path), err
}

func (h *Hub) collectFully(ctx context.Context, path string, age time.Duration) error {
	_, err := h.git(ctx, path, "gc", "--quiet", "--cruft",
		fmt.Sprintf("--prune=%d.seconds.ago", int(age.Seconds())))
	return err
}

// git runs git in the repository at path, at low priority, and returns what it
// printed.
func (h *Hub) git(ctx context.Context, path string, args ...string) (string, error) {
	cmd := h.Command(ctx, "", append([]string{"--git-dir=" + path, "-c", packWindow}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("running git %s: %w", args[0], err)
	}
	_ = syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, collectNice)
	if err := Reap(ctx, cmd); err != nil {
		return "", fmt.Errorf("running git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// usageOf is called with mu held.
func (h *Hub) usageOf(name string) *usage {
	u := h.usage[name]
	if u == nil {
		u = &usage{}
		h.usage[name] = u
	}
	return u
}

func (h *Hub) forget(name string) {
	h.mu.Lock()
	delete(h.usage, name)
	h.mu.Unlock()
}

// diskSize returns the bytes of all files below path, as far as they can be
// seen: others come and go meanwhile.
func diskSize(path string) (size int64) {
	_ = filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil
			}
			return err
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size
}
