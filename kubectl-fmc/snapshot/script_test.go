package snapshot_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
)

// TestNoFileModes: where the file system keeps no executable bits, git's index
// says which files are executable, and untracked scripts are.
func TestNoFileModes(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	h := newHub(t)
	git(t, dir, nil, "init", "-q")
	git(t, dir, nil, "config", "core.fileMode", "false")
	for _, name := range []string{"tool", "plain.txt", "new.txt", "sub/tool"} {
		write(t, filepath.Join(dir, name), name)
	}
	write(t, filepath.Join(dir, "new.sh"), "#!/bin/sh\n")
	write(t, filepath.Join(dir, ".fmc/start"), "exec ./tool\n")
	git(t, dir, nil, "add", "tool", "plain.txt", "sub/tool")
	git(t, dir, nil, "update-index", "--chmod=+x", "tool", "sub/tool")
	// Some such file systems show every file as executable, some none.
	must(t, os.Chmod(filepath.Join(dir, "plain.txt"), 0o755))
	must(t, os.Chmod(filepath.Join(dir, "new.txt"), 0o755))
	repo := open(t, dir)
	pusher := newPusher(h, repo)
	want := "100755 .fmc/start\n100755 new.sh\n100644 new.txt\n100644 plain.txt\n100755 sub/tool\n100755 tool"
	check := func(snap snapshot.Snapshot) {
		t.Helper()
		pushTree(t, pusher, snap)
		if got := git(t, h.repository("orders"), nil, "ls-tree", "-r", "--format=%(objectmode) %(path)", "main"); got != want {
			t.Errorf("the hub has\n%s\nwant\n%s", got, want)
		}
	}
	check(take(t, repo))
	check(take(t, repo))
	write(t, filepath.Join(dir, "sub/tool"), "edited")
	check(takePaths(t, repo, "sub/tool"))
}

// TestAutoCRLF: who has git write CRLF is told once what comes of it.
func TestAutoCRLF(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	git(t, dir, nil, "init", "-q")
	write(t, filepath.Join(dir, "a"), "a")
	repo := open(t, dir)
	if notes := take(t, repo).Notes; len(notes) != 0 {
		t.Errorf("notes = %q without the setting", notes)
	}
	git(t, dir, nil, "config", "core.autocrlf", "true")
	r := run(t, dir, newHub(t).url, nil)
	e := r.await(func(snapshot.Event) bool { return true })
	if e.Kind != snapshot.Notice || !strings.Contains(e.Text, "core.autocrlf input") {
		t.Errorf("event = %+v, want a notice with the way out", e)
	}
	r.awaitTree()
	write(t, filepath.Join(dir, ".gitignore"), "b\n") // looks at everything again
	if e := r.await(func(snapshot.Event) bool { return true }); e.Kind != snapshot.Synced {
		t.Errorf("event = %+v, want no second notice", e)
	}
}

// TestLineEnds: scripts reach the pod with LF, for they cannot run otherwise;
// every other file keeps what it has.
func TestLineEnds(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	h := newHub(t)
	for name, content := range map[string][2]string{
		"gradlew":         {"#!/bin/sh\r\necho \r a\r\n", "#!/bin/sh\necho \r a\n"},
		"lf.sh":           {"#!/bin/sh\nprintf 'a\\r\\n'\n", "#!/bin/sh\nprintf 'a\\r\\n'\n"},
		"cut.sh":          {"#!", "#!"},
		"end.sh":          {"#!/bin/sh\r", "#!/bin/sh\r"},
		".fmc/start":      {"exec ./serve\r\n", "exec ./serve\n"},
		".fmc/build.sh":   {"a\r\n\r\nb\r\n", "a\n\nb\n"},
		".fmc/cleanup":    {"rm -f x\r\n", "rm -f x\n"},
		".fmc/notes.txt":  {"a\r\n", "a\r\n"},
		"sub/.fmc/start":  {"a\r\n", "a\r\n"},
		"start":           {"a\r\n", "a\r\n"},
		"crlf.txt":        {"a\r\nb\r\n", "a\r\nb\r\n"},
		"mixed.bat":       {"a\r\nb\n", "a\r\nb\n"},
		"binary":          {"\x7fELF\r\n\x00", "\x7fELF\r\n\x00"},
		"not-first-#!.md": {" #!/bin/sh\r\n", " #!/bin/sh\r\n"},
	} {
		write(t, filepath.Join(dir, name), content[0])
		t.Cleanup(func() {
			if got := git(t, h.repository("orders"), nil, "cat-file", "blob", "main:"+name); got+"\n" != content[1] && got != content[1] {
				t.Errorf("%s: the hub has %q, want %q", name, got, content[1])
			}
		})
	}
	repo := open(t, dir)
	snap := take(t, repo)
	checkHub(t, h, pushTree(t, newPusher(h, repo), snap), snap)
	// Looking again changes nothing.
	if again := take(t, open(t, dir)); again.Tree != snap.Tree {
		t.Errorf("tree = %s, and then %s", snap.Tree, again.Tree)
	}
}
