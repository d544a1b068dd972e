package chamber

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// pod is what a chamber's scripts see: the service's directory, the scripts, a
// cache, and no more of the environment than they are given.
type pod struct {
	*testing.T
	app, scripts, cache string
	env                 []string
}

func newPod(t *testing.T, name string) *pod {
	t.Helper()
	dir := t.TempDir()
	p := &pod{T: t, app: dir + "/app", scripts: dir + "/scripts", cache: dir + "/cache"}
	for _, d := range []string{p.app, p.scripts, p.cache, dir + "/home"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	found, err := Named(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := found.Chamber(noEnv)
	for script, text := range c.Scripts {
		p.file(p.scripts+"/"+script, text, 0o755)
	}
	p.env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}
	for _, v := range c.Environment("orders") {
		value := strings.ReplaceAll(v.Value, CachePath, p.cache)
		p.set(v.Name, strings.ReplaceAll(value, HomePath, dir+"/home"))
	}
	return p
}

func (p *pod) set(name, value string) { p.env = append(p.env, name+"="+value) }

func (p *pod) file(path, text string, mode os.FileMode) {
	p.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		p.Fatal(err)
	}
}

// write writes a file of the service.
func (p *pod) write(name, text string) {
	p.Helper()
	p.file(filepath.Join(p.app, name), text, 0o644)
}

// program puts a stand-in for a tool that the machine may not have before all
// others; it adds its name and arguments to calls.
func (p *pod) program(name, body string) {
	p.Helper()
	p.file(p.cache+"/tools/"+name, "#!/bin/sh\necho "+name+" \"$@\" >>\""+p.cache+"/calls\"\n"+body, 0o755)
	p.set("PATH", p.cache+"/tools:"+os.Getenv("PATH"))
}

// calls returns the calls of programs since the last time.
func (p *pod) calls() string {
	p.Helper()
	text, err := os.ReadFile(p.cache + "/calls")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		p.Fatal(err)
	}
	os.Remove(p.cache + "/calls")
	return strings.TrimSpace(string(text))
}

func (p *pod) command(script string) *exec.Cmd {
	cmd := exec.Command(p.scripts + "/" + script)
	cmd.Dir, cmd.Env = p.app, p.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// run runs a script to its end and returns all that it says.
func (p *pod) run(script string) (string, error) {
	out, err := p.command(script).CombinedOutput()
	return string(out), err
}

func (p *pod) build() {
	p.Helper()
	if out, err := p.run("build"); err != nil {
		p.Fatalf("build: %v\n%s", err, out)
	}
}

// prints runs start, which ends, and wants its output.
func (p *pod) prints(want string) {
	p.Helper()
	out, err := p.run("start")
	if err != nil || strings.TrimSpace(out) != want {
		p.Errorf("start says %q, %v, want %q", out, err, want)
	}
}

// fails wants a script to fail with a message.
func (p *pod) fails(script, part string) {
	p.Helper()
	if out, err := p.run(script); err == nil || !strings.Contains(out, part) {
		p.Errorf("%s: %v, says %q, want a failure with %q", script, err, out, part)
	}
}
