package supervise

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestScripts(t *testing.T) {
	dir, app := t.TempDir(), t.TempDir()
	write := func(path, content string, mode os.FileMode) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	want := func(s Scripts, argv ...string) {
		t.Helper()
		got, err := s.Start()
		if err != nil || !slices.Equal(got, argv) {
			t.Errorf("Start() = %q, %v, want %q", got, err, argv)
		}
	}
	s := Scripts{Dir: dir, App: app}
	_, err := s.Start()
	for _, way := range []string{dir + "/start", app + "/.fmc/start", "command"} {
		if err == nil || !strings.Contains(err.Error(), way) {
			t.Errorf("Start() = %v, want %s named", err, way)
		}
	}
	s.Command = []string{"./server", "-x"}
	want(s, "./server", "-x")
	inApp := write(app+"/.fmc/start.sh", "echo\n", 0o755)
	want(s, "/bin/sh", inApp) // executable, but nothing the kernel knows
	write(dir+"/start", "#!/bin/sh\n", 0o755)
	want(s, dir+"/start")
	// As in a ConfigMap: a link, and no executable bit.
	if err := os.Remove(dir + "/start"); err != nil {
		t.Fatal(err)
	}
	write(dir+"/..data/start.sh", "#! /usr/bin/env -S python3 -u \nprint()\n", 0o644)
	if err := os.Symlink("..data/start.sh", dir+"/start.sh"); err != nil {
		t.Fatal(err)
	}
	want(s, "/usr/bin/env", "-S python3 -u", dir+"/start.sh")
	if got, err := s.Find(ScriptCleanup); got != nil || err != nil {
		t.Errorf("Find(cleanup) = %q, %v, want nothing", got, err)
	}
}
