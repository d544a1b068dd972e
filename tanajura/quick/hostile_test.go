package quick_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/tanajura/quick"
)

// TestOldEntriesThatAreNoFiles: what a directory had under the name of a
// submodule is not in the repository, and a directory with an old tool's mode
// is no file. Neither may come back as one.
func TestOldEntriesThatAreNoFiles(t *testing.T) {
	f := newFixture(t)
	blob := f.id("a new file\n", "hash-object", "-w", "--stdin")
	absent := strings.Repeat("1", 40)
	dir := f.id("", "rev-parse", "main:other")
	f.old = f.tree("040000 " + dir + " old\n160000 " + absent + " sub\n")
	f.git("", "push", "-q", "-f", f.path, f.old+":refs/heads/main")
	for name, lines := range map[string]string{
		"a submodule as a file":  "100644 " + absent + " file\n100644 " + blob + " new\n",
		"a submodule as a link":  "120000 " + absent + " sub\n100644 " + blob + " new\n",
		"a directory as a file":  "100644 " + blob + " new\n100644 " + dir + " old\n",
		"a submodule that stays": "100644 " + blob + " new\n160000 " + absent + " sub\n",
	} {
		commit := f.tree(lines)
		pack := f.packOf(commit, f.id("", "rev-parse", commit+"^{tree}"), blob)
		f.refused(name, quick.Push{Old: f.old, New: commit, Pack: pack})
	}
}

// TestReplacedObjects: what git shows in an object's place (refs/replace) is not
// what the branch leads to.
func TestReplacedObjects(t *testing.T) {
	f := newFixture(t)
	blob := f.id("never on the branch\n", "hash-object", "-w", "--stdin")
	other := f.tree("100644 " + blob + " file\n")
	otherTree := f.id("", "rev-parse", other+"^{tree}")
	f.git("", "push", "-q", f.path, other+":refs/heads/other", otherTree+":refs/replace/"+f.id("", "rev-parse", "main^{tree}"))
	commit := f.tree("100644 " + blob + " renamed\n")
	pack := f.packOf(commit, f.id("", "rev-parse", commit+"^{tree}"))
	f.refused("a file of a replacement", quick.Push{Old: f.old, New: commit, Pack: pack})
}

// TestGitsOwnNamesStay: a directory that has a .gitignore and the like is no
// less quick for it as long as that stays what it is, which git has looked at.
func TestGitsOwnNamesStay(t *testing.T) {
	f := newFixture(t)
	f.write(".gitignore", "*.o\n")
	f.write(".github/workflow.yaml", "on: push\n")
	f.old = f.commit()
	f.git("", "push", "-q", f.path, "main")
	f.write("d0/sub/f0", "edited\n")
	commit := f.commit()
	if err := f.taker.Take(f.path, quick.Push{Old: f.old, New: commit, Pack: f.pack(commit)}); err != nil {
		t.Errorf("an edit beside a .gitignore: %v", err)
	}
	f.old = commit
	f.write(".gitignore", "*.a\n")
	commit = f.commit()
	f.refused("an edit of it", quick.Push{Old: f.old, New: commit, Pack: f.pack(commit)})
	f.git("", "reset", "-q", "--hard", f.old)
	// The same content under another of git's names is for git to judge.
	f.write(".gitmodules", "*.o\n")
	commit = f.commit()
	f.refused("its content as .gitmodules", quick.Push{Old: f.old, New: commit, Pack: f.pack(commit)})
}

// TestOldDirectoriesAreBounded: how much of the old tree is held in memory does
// not depend on how deep the pusher has made it.
func TestOldDirectoriesAreBounded(t *testing.T) {
	f := newFixture(t)
	blob := f.id("x\n", "hash-object", "-w", "--stdin")
	f.old = f.deep(blob, 100_000, 4)
	f.git("", "push", "-q", "-f", f.path, f.old+":refs/heads/main")
	commit := f.deep(blob, 1, 4)
	pack := f.pack(commit)
	if err := f.taker.Take(f.path, quick.Push{Old: f.old, New: commit, Pack: pack}); !errors.Is(err, quick.ErrDoubt) {
		t.Errorf("Take = %v, want ErrDoubt", err)
	}
}

// deep makes a commit of directories in each other, each with so many names of
// one file.
func (f *fixture) deep(blob string, names, depth int) string {
	f.Helper()
	var raw []byte
	for i := range names {
		raw = fmt.Appendf(raw, "100644 f%07d\x00%s", i, unhex(f.T, blob))
	}
	inner := ""
	for range depth {
		tree := raw
		if inner != "" {
			tree = fmt.Appendf(nil, "40000 a\x00%s%s", unhex(f.T, inner), raw)
		}
		inner = f.id(string(tree), "hash-object", "-t", "tree", "-w", "--literally", "--stdin")
	}
	return f.id("", "commit-tree", inner, "-p", f.old, "-m", "deep")
}

func unhex(t *testing.T, id string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestMadeAnewMeanwhile: where a repository is deleted during a push and another
// is made in its place, that one is left alone, with the lock that somebody has
// there.
func TestMadeAnewMeanwhile(t *testing.T) {
	f := newFixture(t)
	f.write("d0/sub/f0", "edited\n")
	commit := f.commit()
	away := filepath.Join(t.TempDir(), "deleted")
	before := ""
	taker := quick.New(func(ctx context.Context, _ string, args ...string) *exec.Cmd {
		if err := os.Rename(f.path, away); err != nil {
			t.Error(err)
		}
		if err := os.CopyFS(f.path, os.DirFS(away)); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(f.path, "refs/heads/main.lock"), []byte("another's"), 0o600); err != nil {
			t.Error(err)
		}
		before = f.files()
		return exec.CommandContext(ctx, "git", args...)
	})
	if err := taker.Take(f.path, quick.Push{Old: f.old, New: commit, Pack: f.pack(commit)}); err != nil && !errors.Is(err, quick.ErrDoubt) {
		t.Errorf("Take = %v", err)
	}
	if after := f.files(); after != before {
		t.Errorf("the new repository changed from\n%s\nto\n%s", before, after)
	}
}
