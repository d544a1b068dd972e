package quick_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/tanajura/hub"
	"github.com/formicarium/formicarium/tanajura/quick"
)

// fixture is a repository of a hub with one commit of the real git's, and that
// git's working tree.
type fixture struct {
	*testing.T
	path  string // of the hub's repository
	dir   string
	old   string
	taker *quick.Taker
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	h, err := hub.Open(t.TempDir(), hub.Limits{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	if _, err := h.Create("orders"); err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, dir: t.TempDir(), taker: quick.New(h.Command)}
	if f.path, err = h.Path("orders"); err != nil {
		t.Fatal(err)
	}
	f.git("", "init", "-q", "-b", "main")
	for i := range 30 {
		f.write(fmt.Sprintf("d%d/sub/f%d", i%3, i), fmt.Sprintf("file %d\n", i))
	}
	f.write("other/same", "moved\n")
	f.old = f.commit()
	f.git("", "push", "-q", f.path, "main")
	return f
}

func (f *fixture) git(stdin string, args ...string) string {
	f.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com")
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		f.Fatalf("git %v: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

func (f *fixture) id(stdin string, args ...string) string {
	f.Helper()
	return strings.TrimSpace(f.git(stdin, args...))
}

func (f *fixture) write(name, content string) {
	f.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) commit() string {
	f.Helper()
	f.git("", "add", "-A")
	f.git("", "commit", "-q", "--allow-empty", "-m", "a save")
	return f.id("", "rev-parse", "HEAD")
}

// tree makes a commit of a tree that may be anything.
func (f *fixture) tree(lines string) string {
	f.Helper()
	var raw bytes.Buffer
	for line := range strings.Lines(lines) {
		mode, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		id, name, _ := strings.Cut(rest, " ")
		fmt.Fprintf(&raw, "%s %s\x00", mode, name)
		var b []byte
		if _, err := fmt.Sscanf(id, "%x", &b); err != nil {
			f.Fatal(err)
		}
		raw.Write(b)
	}
	tree := f.id(raw.String(), "hash-object", "-t", "tree", "-w", "--literally", "--stdin")
	return f.id("", "commit-tree", tree, "-p", f.old, "-m", "a save")
}

// pack packs what the commit has and the old one does not, without deltas.
func (f *fixture) pack(commit string, args ...string) []byte {
	f.Helper()
	args = append([]string{"pack-objects", "--revs", "--stdout", "-q", "--window=0", "--no-reuse-delta"}, args...)
	return []byte(f.git(commit+"\n^"+f.old+"\n", args...))
}

// packOf packs just these objects.
func (f *fixture) packOf(ids ...string) []byte {
	f.Helper()
	return []byte(f.git(strings.Join(ids, "\n")+"\n", "pack-objects", "--stdout", "-q", "--window=0", "--no-reuse-delta"))
}

func (f *fixture) head() string {
	f.Helper()
	return f.id("", "--git-dir="+f.path, "rev-parse", "refs/heads/main")
}

// TestSaves takes every kind of save, and lets the real git judge what is there.
func TestSaves(t *testing.T) {
	f := newFixture(t)
	for name, save := range map[string]func(){
		"edit":          func() { f.write("d1/sub/f1", "edited\n") },
		"new file":      func() { f.write("d1/sub/new", "new\n") },
		"new directory": func() { f.write("x/y/z", "new\n"); f.write("x/w/z", "new\n") },
		"empty file":    func() { f.write("d0/empty", "") },
		"odd name":      func() { f.write("d0/odd name\n\xff~", "odd\n") },
		"rename": func() {
			if err := os.Rename(filepath.Join(f.dir, "d1/sub/f4"), filepath.Join(f.dir, "d1/sub/renamed")); err != nil {
				t.Fatal(err)
			}
		},
		"delete": func() {
			if err := os.RemoveAll(filepath.Join(f.dir, "d2/sub")); err != nil {
				t.Fatal(err)
			}
		},
		"mode": func() {
			if err := os.Chmod(filepath.Join(f.dir, "d0/sub/f0"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
		"nothing": func() {},
	} {
		save()
		commit := f.commit()
		if err := f.taker.Take(f.path, quick.Push{Old: f.old, New: commit, Pack: f.pack(commit)}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if f.head() != commit {
			t.Fatalf("%s: the branch is at %s, want %s", name, f.head(), commit)
		}
		f.git("", "--git-dir="+f.path, "fsck", "--strict", "--full", "--no-dangling")
		f.old = commit
	}
	if f.id("", "--git-dir="+f.path, "rev-parse", "main^{tree}") != f.id("", "rev-parse", "main^{tree}") {
		t.Error("the trees differ")
	}
	f.git("", "--git-dir="+f.path, "repack", "-adq") // under the feet of what stands ready
	f.write("d1/sub/f1", "after a repack\n")
	commit := f.commit()
	if err := f.taker.Take(f.path, quick.Push{Old: f.old, New: commit, Pack: f.pack(commit)}); err != nil {
		t.Fatalf("after a repack: %v", err)
	}
}

// TestDoubt tries what is to be left to git; nothing may change then.
func TestDoubt(t *testing.T) {
	f := newFixture(t)
	blob := f.id("a new file\n", "hash-object", "-w", "--stdin")
	same := f.id("", "rev-parse", "main:other/same")
	link := func(mode, id, name string) func() (string, []byte) {
		return func() (string, []byte) {
			commit := f.tree(mode + " " + id + " " + name + "\n")
			return commit, f.packOf(commit, f.id("", "rev-parse", commit+"^{tree}"), blob)
		}
	}
	for name, push := range map[string]func() (string, []byte){
		".git":                  link("100644", blob, ".git"),
		".GitModules":           link("100644", blob, ".GitModules"),
		"hidden for macOS":      link("100644", blob, ".g\u200cit"),
		"short name":            link("100644", blob, "GIT~1"),
		"short name of modules": link("100644", blob, "GI7EBA~1"),
		"backslash":             link("100644", blob, `a\b`),
		"dot dot":               link("40000", blob, ".."),
		"slash":                 link("100644", blob, "a/b"),
		"submodule":             link("160000", f.old, "sub"),
		"odd mode":              link("100664", blob, "a"),
		"a file as a directory": link("40000", blob, "a"),
		"a directory as a file": link("100644", f.id("", "rev-parse", "main:other"), "other"),
		"from elsewhere":        link("100644", same, "same"),
		"missing":               link("100644", strings.Repeat("1", 40), "a"),
		"nothing":               link("100644", strings.Repeat("0", 40), "a"),
		"not in order": func() (string, []byte) {
			c := f.tree("100644 " + blob + " b\n100644 " + blob + " a\n")
			return c, f.pack(c)
		},
		"twice": func() (string, []byte) {
			c := f.tree("100644 " + blob + " a\n100644 " + blob + " a\n")
			return c, f.pack(c)
		},
		"another parent": func() (string, []byte) {
			c := f.id("", "commit-tree", f.id("", "rev-parse", "main^{tree}"), "-m", "alone")
			return c, f.pack(c)
		},
		"an extra header": func() (string, []byte) {
			text := f.git("", "cat-file", "commit", f.old)
			text = strings.Replace(text, "\nauthor", "\nparent "+f.old+"\nauthor", 1)
			c := f.id(strings.Replace(text, "\n\n", "\nencoding x\n\n", 1), "hash-object", "-t", "commit", "-w", "--literally", "--stdin")
			return c, f.packOf(c)
		},
		"nothing leads there": func() (string, []byte) {
			c := f.id("", "commit-tree", f.id("", "rev-parse", "main^{tree}"), "-p", f.old, "-m", "more")
			return c, f.packOf(c, blob)
		},
		"a delta": func() (string, []byte) {
			f.write("d0/long", strings.Repeat("a line of a long file\n", 2000))
			f.write("d0/long2", strings.Repeat("a line of a long file\n", 2000)+"and one more\n")
			c := f.commit()
			return c, []byte(f.git(c+"\n^"+f.old+"\n", "pack-objects", "--revs", "--stdout", "-q"))
		},
		"no pack": func() (string, []byte) { return blob, nil },
	} {
		commit, pack := push()
		f.refused(name, quick.Push{Old: f.old, New: commit, Pack: pack})
	}
	f.git("", "reset", "-q", "--hard", f.old)
	f.write("d0/sub/f0", "good\n")
	commit := f.commit()
	good := f.pack(commit)
	for at := 0; at < len(good); at += 7 {
		damaged := bytes.Clone(good)
		damaged[at] ^= 1
		f.refused(fmt.Sprintf("byte %d damaged", at), quick.Push{Old: f.old, New: commit, Pack: damaged})
		f.refused(fmt.Sprintf("cut at %d", at), quick.Push{Old: f.old, New: commit, Pack: good[:at]})
	}
	f.refused("another old commit", quick.Push{Old: commit, New: commit, Pack: good})
	lock := filepath.Join(f.path, "refs", "heads", "main.lock")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.refused("locked", quick.Push{Old: f.old, New: commit, Pack: good})
	if err := os.Remove(lock); err != nil {
		t.Fatalf("the lock of another is gone: %v", err)
	}
	if err := f.taker.Take(f.path, quick.Push{Old: f.old, New: commit, Pack: good}); err != nil {
		t.Errorf("a good push after all that: %v", err)
	}
}

func (f *fixture) refused(what string, p quick.Push) {
	f.Helper()
	before := f.files()
	if err := f.taker.Take(f.path, p); !errors.Is(err, quick.ErrDoubt) {
		f.Errorf("%s: Take = %v, want ErrDoubt", what, err)
	}
	if after := f.files(); before != after {
		f.Errorf("%s: the repository changed from\n%s\nto\n%s", what, before, after)
	}
}

// files lists the repository.
func (f *fixture) files() string {
	f.Helper()
	var list strings.Builder
	err := filepath.Walk(f.path, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			fmt.Fprintln(&list, path, info.Size())
		}
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	return list.String() + f.head()
}
