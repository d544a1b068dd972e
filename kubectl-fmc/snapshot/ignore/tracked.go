package ignore

import (
	"bufio"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"
)

// KeepsModes reports whether the directory's file system keeps executable bits,
// as far as git has found: where it does not, git goes by its index.
func (d *Dir) KeepsModes() bool { return !d.repo.noModes }

// Executable reports whether git tracks the file, and as executable.
func (d *Dir) Executable(name string) (executable, tracked bool) {
	path := d.path + name
	return d.repo.executable[strings.TrimPrefix(path, d.repo.prefix)], d.repo.tracks(path)
}

// readTracked returns the sorted paths in the index file of the repository
// whose root is dir, and which of them are executable. Forms of the index that
// are not read here, like one that is split in two, are left to git itself.
// Where that cannot read it either, it tracks nothing: it can only matter for
// files that are tracked and ignored at once.
func readTracked(dir, path string) (paths []string, executable map[string]bool) {
	f, err := openRegular(path)
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	paths, executable, ok := decodeIndex(f)
	if !ok {
		paths, executable = listTracked(dir)
	}
	slices.Sort(paths)
	return slices.Compact(paths), executable
}

// decodeIndex reads an index file; ok is false where it is not one that can be
// read whole.
func decodeIndex(f io.Reader) (paths []string, executable map[string]bool, ok bool) {
	// The file is whatever somebody's git has left there.
	defer func() { ok = recover() == nil && ok }()
	var idx index.Index
	if err := index.NewDecoder(bufio.NewReaderSize(f, 1<<16)).Decode(&idx); err != nil {
		return nil, nil, false
	}
	paths, executable = make([]string, 0, len(idx.Entries)), map[string]bool{}
	for _, e := range idx.Entries {
		paths = append(paths, e.Name)
		if e.Mode == filemode.Executable {
			executable[e.Name] = true
		}
	}
	return paths, executable, true
}

// listTracked asks git: "MODE ID STAGE\tPATH".
func listTracked(dir string) (paths []string, executable map[string]bool) {
	out, err := runGit(dir, "ls-files", "--stage", "-z")
	if err != nil {
		return nil, nil
	}
	executable = map[string]bool{}
	for item := range strings.SplitSeq(out, "\x00") {
		head, path, found := strings.Cut(item, "\t")
		if !found {
			continue
		}
		paths = append(paths, path)
		if strings.HasPrefix(head, "100755 ") {
			executable[path] = true
		}
	}
	return paths, executable
}
