// Package ignore decides which files of a directory belong to its snapshot:
// git's rules, and those of .fmcignore files on top.
//
//	dir, err := ignore.Load("/home/ann/shop/orders", ignore.Options{})
//	switch dir.Match("build", true) { case ignore.Include: … }
//	sub := dir.Enter("src", ignore.Include, listing)
//
// git's part is what `git ls-files --cached --others --exclude-standard`
// means: .gitignore files from the repository's root down, .git/info/exclude,
// core.excludesFile, and that a tracked file is never ignored. A repository
// inside the directory (a submodule, say) has its own rules from there on.
// ".git" itself never belongs. The temporary files of common editors are
// ignored unless a rule or git's index says otherwise.
//
// A .fmcignore may stand at any level and has the syntax of .gitignore. Its
// patterns go before git's: what it ignores is ignored, and what it brings
// back with '!' belongs although git ignores it, also below a directory that
// git ignores. Among its patterns the one for the deepest directory wins, then
// the last; a directory that is brought back comes back whole. A '!' pattern
// without a slash may match anywhere, so ignored directories are searched for
// it; anchor it (`!/.env`) where that is not meant.
package ignore

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Names of the files that hold rules.
const (
	GitFile = ".gitignore"
	OwnFile = ".fmcignore"
)

// Verdict says what becomes of a file or a directory.
type Verdict int

// The verdicts.
const (
	// Ignore leaves it out, with all that is in it.
	Ignore Verdict = iota
	// Include takes it in.
	Include
	// Search is for a directory that is ignored though something in it may not
	// be.
	Search
)

// Options of Load.
type Options struct {
	// Never holds absolute paths that are left out whatever the rules say.
	Never []string
}

// Dir holds the rules in force for the entries of one directory. It does not
// change once it is made.
type Dir struct {
	repo  *repository
	never []string
	abs   string
	path  string // relative to where the rules begin, "" or ending in '/'
	git   []list // in force, the strongest last
	own   []list
	// gitIgnored is set below a directory that git ignores: nothing in it
	// can be anything else to git, unless it is tracked.
	gitIgnored bool
	// inherited is the verdict of .fmcignore files on the directory itself.
	inherited ownVerdict
}

// list is one file's patterns.
type list struct {
	base     string // the file's directory, in the form of Dir.path
	patterns []pattern
}

type ownVerdict int8

const (
	ownNone ownVerdict = iota
	ownIgnore
	ownInclude
)

// Load returns the rules for the entries of the directory abs.
func Load(abs string, o Options) (*Dir, error) {
	repo, err := findRepository(abs)
	if err != nil {
		return nil, err
	}
	top := abs
	if repo.top != "" {
		top = repo.top
	}
	d := &Dir{repo: repo, never: o.Never, abs: top, git: repo.lists("")}
	if err := d.read(func(string) bool { return true }); err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(top, abs)
	if err != nil {
		return nil, fmt.Errorf("finding %q below its repository %q: %w", abs, top, err)
	}
	if rel == "." {
		return d, nil
	}
	for name := range strings.SplitSeq(filepath.ToSlash(rel), "/") {
		// The user named this directory, so it counts even where the rules of
		// those above it say otherwise.
		if d, err = d.Enter(name, Include, nil); err != nil {
			return nil, err
		}
		if d.inherited == ownIgnore {
			d.inherited = ownNone
		}
	}
	return d, nil
}

// Match returns the verdict on an entry of the directory.
func (d *Dir) Match(name string, isDir bool) Verdict {
	if isDotGit(name) {
		return Ignore
	}
	if len(d.never) > 0 && slices.Contains(d.never, filepath.Join(d.abs, name)) {
		return Ignore
	}
	switch d.matchOwn(name, isDir) {
	case ownInclude:
		return Include
	case ownIgnore:
		return d.ignored(name, isDir)
	}
	if (d.gitIgnored || d.matchGit(name, isDir)) && !d.repo.tracks(d.path+name) {
		return d.ignored(name, isDir)
	}
	return Include
}

// isDotGit reports whether name is git's own, as a file system that folds case
// would see it too.
func isDotGit(name string) bool {
	return len(name) == len(".git") && strings.EqualFold(name, ".git")
}

// ignored refines Ignore for directories.
func (d *Dir) ignored(name string, isDir bool) Verdict {
	if !isDir {
		return Ignore
	}
	for _, l := range d.own {
		dir := d.path[len(l.base):] + name
		for i := range l.patterns {
			if p := &l.patterns[i]; p.negated && p.below(dir) {
				return Search
			}
		}
	}
	if d.repo.tracksBelow(d.path + name) {
		return Search
	}
	return Ignore
}

func (d *Dir) matchOwn(name string, isDir bool) ownVerdict {
	switch p := d.last(d.own, name, isDir); {
	case p == nil:
		return d.inherited
	case p.negated:
		return ownInclude
	}
	return ownIgnore
}

func (d *Dir) matchGit(name string, isDir bool) bool {
	p := d.last(d.git, name, isDir)
	return p != nil && !p.negated
}

// last returns the pattern that decides: the last one that matches.
func (d *Dir) last(lists []list, name string, isDir bool) *pattern {
	base, full := name, ""
	if d.repo.fold {
		base = lower(name)
	}
	for i := len(lists) - 1; i >= 0; i-- {
		l := &lists[i]
		for j := len(l.patterns) - 1; j >= 0; j-- {
			p := &l.patterns[j]
			text := base
			if !p.baseOnly {
				if full == "" {
					full = d.path + name
					if d.repo.fold {
						full = lower(full)
					}
				}
				text = full[len(l.base):]
			}
			if p.match(text, isDir) {
				return p
			}
		}
	}
	return nil
}

// Enter returns the rules for the entries of the directory name, which had
// that verdict. Where has is given, only those of the files with rules are
// opened that it reports.
func (d *Dir) Enter(name string, v Verdict, has func(name string) bool) (*Dir, error) {
	if has == nil {
		has = func(string) bool { return true }
	}
	sub := &Dir{
		repo: d.repo, never: d.never, abs: filepath.Join(d.abs, name), path: d.path + name + "/",
		git: d.git, own: d.own, inherited: d.matchOwn(name, true),
		gitIgnored: v != Include && (d.gitIgnored || d.matchGit(name, true)),
	}
	if has(".git") {
		inner, err := openRepository(sub.abs)
		if err != nil {
			return nil, err
		}
		if inner != nil {
			inner.prefix = sub.path
			inner.inherit(d.repo)
			sub.repo, sub.git = inner, inner.lists(sub.path)
		}
	}
	return sub, sub.read(has)
}

// read adds the rules that the directory itself holds.
func (d *Dir) read(has func(string) bool) error {
	if !d.gitIgnored && has(GitFile) {
		text, err := readRules(filepath.Join(d.abs, GitFile))
		if err != nil {
			return err
		}
		d.git = d.with(d.git, text)
	}
	if has(OwnFile) {
		text, err := readRules(filepath.Join(d.abs, OwnFile))
		if err != nil {
			return err
		}
		d.own = d.with(d.own, text)
	}
	return nil
}

// with returns lists and the rules in text.
func (d *Dir) with(lists []list, text []byte) []list {
	patterns := parseLines(text, d.repo.fold)
	if len(patterns) == 0 {
		return lists
	}
	return append(slices.Clip(lists), list{base: d.path, patterns: patterns})
}
