package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
)

// buildWorkers builds the service of testdata/workers, which needs nothing of the
// system that it runs on, as path.
func buildWorkers(t *testing.T, path string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", path, "./testdata/workers")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the workers: %v\n%s", err, out)
	}
}

// says waits until the port answers with the text.
func (p *program) says(port int, text string) {
	p.Helper()
	p.eventually(text, func() bool {
		answer, err := ask(port)
		return err == nil && answer == text
	})
}

// TestPortIsFreeForTheNext: each save starts a process that listens where the one
// before did, though what listened there ignores all but SIGKILL and its parent
// has long gone. Status counts the starts, and none is a crash.
func TestPortIsFreeForTheNext(t *testing.T) {
	workers, port := filepath.Join(t.TempDir(), "workers"), freePort(t)
	buildWorkers(t, workers)
	p := start(t, map[string]string{"version": "0", ".fmc/start": "exec " + workers + "\n"},
		[]string{fmt.Sprint("PORT=", port), "START_AFTER_PULL=true", "STINGER_GRACE=50ms"})
	p.ready()
	p.says(port, fmt.Sprint("0 ", os.Getuid()))
	const saves = 6
	for i := range saves {
		version := fmt.Sprint(i + 1)
		p.hub.Write("version", version, 0o644)
		var result api.PullResult
		if code := p.call("POST", "/pull", `{"commit":"`+p.hub.Commit()+`"}`, &result); code != 200 || !result.Restarted {
			t.Fatalf("POST /pull = %d %+v", code, result)
		}
		p.says(port, fmt.Sprint(version, " ", os.Getuid()))
	}
	var status api.StingerStatus
	p.call("GET", "/status", "", &status)
	if status.Restarts != saves || status.Crashes != 0 || status.Commit != p.hub.Head() {
		t.Errorf("status = %+v, want %d restarts, no crash, and the last commit", status, saves)
	}
}

// TestBareImage: an image that holds nothing, no shell, no tar, no user, and a
// root file system that cannot be written to. Code comes, runs and is replaced;
// nothing but Stinger's own directories is touched.
func TestBareImage(t *testing.T) {
	const user = 1000680000
	root := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"": 0o755, "dev": 0o755, "fmc": 0o755, "app": 0o777, "state": 0o777} {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(binary, "install", filepath.Join(root, "fmc")).CombinedOutput(); err != nil {
		t.Fatalf("stinger install: %v\n%s", err, out)
	}
	// The one thing that every container has: the runtime sees to it.
	const null = 1<<8 | 3
	if err := syscall.Mknod(filepath.Join(root, "dev/null"), syscall.S_IFCHR|0o666, null); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, "dev/null"), 0o666); err != nil {
		t.Fatal(err)
	}
	before := list(t, root)
	p := prepare(t)
	port := freePort(t)
	buildWorkers(t, filepath.Join(p.hub.Work, "server"))
	p.hub.Write("version", "1", 0o644)
	p.hub.Commit()
	cmd := exec.Command("/fmc/stinger", "run", "--", "./server")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: user, Gid: user}}
	p.begin(cmd, []string{"PATH=", "HOME=", "TMPDIR=", "APP_PATH=/app", "STINGER_STATE=/state", "STINGER_SCRIPTS=/scripts", fmt.Sprint("PORT=", port), "START_AFTER_PULL=true", "STINGER_GRACE=50ms"})
	p.ready()
	p.says(port, fmt.Sprint("1 ", user))
	p.hub.Write("version", "2", 0o644)
	var result api.PullResult
	if code := p.call("POST", "/pull", `{"commit":"`+p.hub.Commit()+`"}`, &result); code != 200 || result.Error != "" || !result.Restarted {
		t.Errorf("POST /pull = %d %+v", code, result)
	}
	p.says(port, fmt.Sprint("2 ", user))
	p.signal(syscall.SIGTERM, true)
	if after := list(t, root); after != before {
		t.Errorf("the image has\n%s\nand had\n%s", after, before)
	}
}

// list names all that is in the image, with modes, owners and times; of the
// volumes and the device only that they are there.
func list(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		stat := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %v %d:%d", name, info.Mode(), stat.Uid, stat.Gid)
		if name == "/dev/null" || name == "/app" || name == "/state" {
			b.WriteString("\n")
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		fmt.Fprintf(&b, " %v\n", info.ModTime())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
