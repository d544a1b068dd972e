package ignore

import (
	"path/filepath"
	"slices"
	"strings"
)

// Outside returns the files that the rules were read from, or would be if they
// were there, and that stand elsewhere than in the directory of Load: those of
// the directories above it up to its repository's root, info/exclude and
// core.excludesFile.
func (d *Dir) Outside() []string {
	var files []string
	top := d.repo.top
	for at := d.abs; top != "" && at != top; {
		at = filepath.Dir(at)
		files = append(files, filepath.Join(at, GitFile), filepath.Join(at, OwnFile))
	}
	for _, file := range []string{d.repo.excludePath, d.repo.globalPath} {
		if file != "" {
			files = append(files, file)
		}
	}
	return files
}

// AutoCRLF reports whether git's core.autoCRLF is set for the directory's
// repository.
func (d *Dir) AutoCRLF() bool { return d.repo.crlf && d.repo.top != "" }

// Index returns git's index file, "" where there is no repository.
func (d *Dir) Index() string { return d.repo.indexPath }

// Tracked returns what git tracks below the directory, as paths relative to it,
// sorted.
func (d *Dir) Tracked() []string { return d.tracked(d.repo.tracked) }

// Retracked is Tracked as git's index is now.
func (d *Dir) Retracked() []string {
	paths, _ := readTracked(d.repo.top, d.repo.indexPath)
	return d.tracked(paths)
}

func (d *Dir) tracked(paths []string) []string {
	below := strings.TrimPrefix(d.path, d.repo.prefix)
	i, _ := slices.BinarySearch(paths, below)
	var list []string
	for _, path := range paths[i:] {
		rest, found := strings.CutPrefix(path, below)
		if !found {
			break
		}
		list = append(list, rest)
	}
	return list
}

// Ignores reports whether the rules alone ignore the entry: whether it would be
// if git did not track it, nor anything below it.
func (d *Dir) Ignores(name string, isDir bool) bool {
	switch d.matchOwn(name, isDir) {
	case ownInclude:
		return false
	case ownIgnore:
		return true
	}
	return d.gitIgnored || d.matchGit(name, isDir)
}
