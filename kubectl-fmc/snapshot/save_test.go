package snapshot_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
)

// saver saves a file as some editor does, step by step.
type saver struct {
	t    *testing.T
	path string
}

func (s saver) beside(name string) string { return filepath.Join(filepath.Dir(s.path), name) }

// slowly writes in pieces, as a large buffer is written.
func (s saver) slowly(path, content string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	must(s.t, err)
	for _, piece := range strings.SplitAfter(content, " ") {
		_, err := f.WriteString(piece)
		must(s.t, err)
	}
	must(s.t, f.Close())
}

// editors are the ways in which editors save main.go: what strace shows of
// them, in the same order.
var editors = map[string]func(s saver, content string){
	"vim, backupcopy=no": func(s saver, content string) {
		s.slowly(s.beside(".main.go.swp"), "swap")
		write(s.t, s.beside("4913"), "")
		must(s.t, os.Remove(s.beside("4913")))
		must(s.t, os.Rename(s.path, s.path+"~"))
		s.slowly(s.path, content)
		must(s.t, os.Chmod(s.path, 0o644))
		must(s.t, os.Remove(s.path+"~"))
		must(s.t, os.Remove(s.beside(".main.go.swp")))
	},
	"vim, backupcopy=yes": func(s saver, content string) {
		s.slowly(s.beside(".main.go.swx"), "")
		must(s.t, os.Remove(s.beside(".main.go.swx")))
		old, err := os.ReadFile(s.path)
		must(s.t, err)
		s.slowly(s.path+"~", string(old))
		s.slowly(s.path, content)
		must(s.t, os.Remove(s.path+"~"))
	},
	"Emacs": func(s saver, content string) {
		must(s.t, os.Symlink("ann@host.123:1", s.beside(".#main.go")))
		s.slowly(s.beside("#main.go#"), content)
		must(s.t, os.Rename(s.path, s.path+"~"))
		s.slowly(s.path, content)
		must(s.t, os.Remove(s.beside("#main.go#")))
		must(s.t, os.Remove(s.beside(".#main.go")))
	},
	"VS Code": func(s saver, content string) { s.slowly(s.path, content) },
	"VS Code, atomic": func(s saver, content string) {
		s.slowly(s.beside("main.go.vsctmp"), content)
		must(s.t, os.Rename(s.beside("main.go.vsctmp"), s.path))
	},
	"JetBrains": func(s saver, content string) {
		s.slowly(s.path+"___jb_tmp___", content)
		must(s.t, os.Rename(s.path, s.path+"___jb_old___"))
		must(s.t, os.Rename(s.path+"___jb_tmp___", s.path))
		must(s.t, os.Remove(s.path+"___jb_old___"))
	},
	"GNOME": func(s saver, content string) {
		s.slowly(s.beside(".goutputstream-ABC123"), content)
		must(s.t, os.Rename(s.beside(".goutputstream-ABC123"), s.path))
	},
	"Kate": func(s saver, content string) {
		s.slowly(s.beside(".main.go.kate-swp"), "swap")
		s.slowly(s.beside("main.go.XyZ123"), content)
		must(s.t, os.Rename(s.beside("main.go.XyZ123"), s.path))
		must(s.t, os.Remove(s.beside(".main.go.kate-swp")))
	},
}

// TestEditors: each editor's save is one snapshot, of one changed file, whole.
func TestEditors(t *testing.T) {
	isolate(t)
	dir, h := t.TempDir(), newHub(t)
	write(t, filepath.Join(dir, "main.go"), "package main\n")
	write(t, filepath.Join(dir, ".gitignore"), "*.kate-swp\n")
	r := run(t, dir, h.url, func(c *snapshot.Config) {
		// Long enough for the slowest machine to take all steps in.
		c.Watch.Quiet, c.Watch.Hold = time.Second, time.Minute
	})
	r.awaitTree()
	for name, save := range editors {
		content := strings.Repeat("package main // "+name+" ", 2000)
		save(saver{t, filepath.Join(dir, "main.go")}, content)
		e := r.await(func(snapshot.Event) bool { return true })
		if e.Kind != snapshot.Synced || e.Snapshot.Changed != 1 || !slices.Equal(e.Snapshot.Paths, []string{"main.go"}) || e.Snapshot.Files != 2 {
			t.Errorf("%s: event = %+v, want one change, of main.go", name, e)
		}
		if got := git(t, h.repository("orders"), nil, "cat-file", "blob", e.Push.Commit.String()+":main.go"); got != content {
			t.Errorf("%s: the hub has %d bytes, want %d", name, len(got), len(content))
		}
	}
}

// TestBranchSwitch: thousands of files at once come in one push, whole.
func TestBranchSwitch(t *testing.T) {
	const files = 5000
	isolate(t)
	dir, h := t.TempDir(), newHub(t)
	identity := []string{"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com"}
	git(t, dir, nil, "init", "-q", "-b", "main")
	for _, branch := range []string{"main", "other"} {
		if branch == "other" {
			git(t, dir, nil, "checkout", "-q", "-b", branch)
			remove(t, filepath.Join(dir, "src/p00"))
		}
		for i := range files {
			if branch == "main" || i%2 == 0 {
				write(t, filepath.Join(dir, nameOf(i)), fmt.Sprint(branch, i))
			}
		}
		git(t, dir, nil, "add", "-A")
		git(t, dir, identity, "commit", "-q", "-m", branch)
	}
	r := run(t, dir, h.url, nil)
	r.awaitTree()
	for _, branch := range []string{"main", "other", "main"} {
		git(t, dir, nil, "checkout", "-q", branch)
		e := r.awaitTree()
		checkHub(t, h, e.Push, e.Snapshot)
		if got, want := e.Snapshot.Tree.String(), git(t, dir, nil, "rev-parse", branch+"^{tree}"); got != want {
			t.Errorf("tree = %s, the branch's is %s", got, want)
		}
	}
	pushes, err := strconv.Atoi(git(t, h.repository("orders"), nil, "rev-list", "--count", "main"))
	must(t, err)
	// One at the start and one for each, where the machine lets git work on.
	if pushes > 8 {
		t.Errorf("three switches of a branch took %d pushes", pushes)
	}
}

// TestDirectoriesWithoutAGap: files in directories that are being made are in
// the snapshot, and later changes of them, too.
func TestDirectoriesWithoutAGap(t *testing.T) {
	isolate(t)
	dir, h := t.TempDir(), newHub(t)
	r := run(t, dir, h.url, nil)
	r.awaitTree()
	deep := func(i int) string { return filepath.Join(dir, fmt.Sprintf("a%d/b%d/c/d/file", i%7, i)) }
	for i := range 400 {
		write(t, deep(i), "first")
	}
	r.awaitTree()
	for i := range 400 {
		write(t, deep(i), fmt.Sprint("second ", i))
	}
	r.awaitTree()
	for i := 0; i < 400; i += 3 {
		rename(t, filepath.Dir(filepath.Dir(deep(i))), filepath.Join(dir, fmt.Sprint("moved", i)))
		write(t, filepath.Join(dir, fmt.Sprintf("moved%d/d/more", i)), "third")
	}
	r.awaitTree()
}

// TestIgnoredInstall: whatever happens in an ignored directory, nothing is
// read or pushed.
func TestIgnoredInstall(t *testing.T) {
	isolate(t)
	dir, h := t.TempDir(), newHub(t)
	write(t, filepath.Join(dir, ".gitignore"), "node_modules/\n")
	read := make(chan string, 10)
	r := run(t, dir, h.url, func(c *snapshot.Config) {
		c.Repo.OnOpen(func(path string) error { read <- path; return nil })
	})
	r.awaitTree()
	<-read // the rules
	for i := range 3000 {
		write(t, filepath.Join(dir, fmt.Sprintf("node_modules/@s/p%d/lib/index%d.js", i/10, i)), "x")
	}
	remove(t, filepath.Join(dir, "node_modules/@s"))
	write(t, filepath.Join(dir, "marker"), "x")
	if e := r.await(func(snapshot.Event) bool { return true }); e.Snapshot.Changed != 1 || e.Snapshot.Files != 2 {
		t.Errorf("event = %+v, want the marker's alone", e)
	}
	// A file that was being written may be read again.
	for path := <-read; ; path = <-read {
		if path != "marker" {
			t.Errorf("%q was read", path)
		}
		if len(read) == 0 {
			return
		}
	}
}

// TestWriterWhoPaused: who stood still while a file was read, and went on while
// it was stored, left no half-written file in the snapshot.
func TestWriterWhoPaused(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	repo, path := open(t, dir), filepath.Join(dir, "app.jar")
	write(t, path, "half")
	const beforeAndAfterReading = 2
	repo.AfterLook(func(looks int) {
		if looks == beforeAndAfterReading {
			write(t, path, "half and half")
		}
	})
	if snap, want := take(t, repo), gitTree(t, dir); snap.Tree.String() != want {
		t.Errorf("the snapshot is %s, the directory %s: it has half a file", snap.Tree, want)
	}
}
