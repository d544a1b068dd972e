package chamber

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicarium/formicarium/internal/testutil"
)

func TestGoScripts(t *testing.T) {
	p := newPod(t, "go")
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	p.set("GOCACHE", strings.TrimSpace(string(cache))) // the standard library takes its time
	p.write("go.mod", "module example.com/orders\n\ngo 1.22\n")
	p.write("main.go", "package main\n\nfunc main() { println(\"one\") }\n")
	p.build()
	p.prints("one")

	p.write("main.go", "package main\n\nfunc main() { println(two) }\n")
	p.fails("build", "undefined: two")
	p.prints("one") // what does not compile takes nothing away

	os.Remove(p.app + "/main.go")
	p.write("cmd/a/main.go", "package main\n\nfunc main() { println(\"a\") }\n")
	p.build()
	p.prints("a")
	p.write("cmd/b/main.go", "package main\n\nfunc main() { println(\"b\") }\n")
	p.fails("build", "example.com/orders/cmd/a example.com/orders/cmd/b")
	p.set("FMC_MAIN", "./cmd/b")
	p.build()
	p.prints("b")
}

// What is started is the service itself: signals arrive.
func TestStartBecomesTheService(t *testing.T) {
	p := newPod(t, "python")
	// Not signal.pause: a signal that comes just before it would be missed.
	p.write("app.py", "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint(os.getpid(), flush=True)\nwhile True: time.sleep(0.05)\n")
	cmd := p.command("start")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 20)
	if _, err := out.Read(buf); err != nil { // it handles the signal from here on
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("the service ended with %v, want its own 7", err)
	}
}

func TestPythonScripts(t *testing.T) {
	p := newPod(t, "python")
	p.fails("start", "what to start?")
	p.write("main.py", "import sys; print('main', sys.prefix == sys.base_prefix)")
	p.build() // no requirements, no environment
	p.prints("main True")

	wheels := t.TempDir()
	testutil.WriteWheel(t, wheels, "1.0", "TEXT = 'hello 1.0'\n")
	p.write("requirements.txt", "--no-index\n--find-links "+wheels+"\ngreeting==1.0\n")
	p.write("main.py", "import sys, greeting; print(greeting.TEXT, sys.prefix == sys.base_prefix)")
	p.build()
	p.prints("hello 1.0 False")

	// Nothing has changed: not even pip is asked.
	python := p.cache + "/services/orders/venv/bin/python"
	if err := os.Rename(wheels, wheels+"-gone"); err != nil {
		t.Fatal(err)
	}
	p.build()
	p.prints("hello 1.0 False")
	if _, err := os.Stat(python); err != nil {
		t.Error(err)
	}

	p.write("requirements.txt", "--no-index\n--find-links "+wheels+"\ngreeting==2.0\n")
	p.fails("build", "greeting==2.0")
	if err := os.Rename(wheels+"-gone", wheels); err != nil {
		t.Fatal(err)
	}
	testutil.WriteWheel(t, wheels, "2.0", "TEXT = 'hello 2.0'\n")
	p.build() // a build that failed is made up for
	p.prints("hello 2.0 False")

	p.write(".fmc/start", "echo own; exit 0\n")
	p.prints("own")
}

func TestNodeScripts(t *testing.T) {
	p := newPod(t, "node")
	p.write("server.js", "console.log('server')")
	p.build()
	p.prints("server")
	p.write("package.json", `{"main": "lib.js"}`)
	p.write("lib.js", "console.log('lib')")
	p.build() // nothing to install, so no npm is needed
	p.prints("lib")
	p.write("package.json", `{"scripts": {"start": "node server.js --port 80"}}`)
	p.prints("server")
	p.write("package.json", `{"scripts": {"start": "NAME=x node -p process.env.NAME && echo end"}}`)
	p.prints("x\nend")

	p.program("npm", "mkdir -p node_modules/.bin\nprintf '#!/bin/sh\\necho tool\\n' >node_modules/.bin/tool\nchmod +x node_modules/.bin/tool\n")
	p.write("package.json", `{"dependencies": {"tool": "1"}, "scripts": {"start": "tool"}}`)
	p.build()
	if got := p.calls(); !strings.HasPrefix(got, "npm install ") || !strings.Contains(got, "--prefer-offline") {
		t.Errorf("without a lock file: %q", got)
	}
	p.prints("tool")
	p.build()
	if got := p.calls(); got != "" {
		t.Errorf("nothing has changed, and yet: %q", got)
	}
	p.write("package-lock.json", "{}")
	p.build()
	if got := p.calls(); !strings.HasPrefix(got, "npm ci ") {
		t.Errorf("with a lock file: %q", got)
	}
	p.program("npm", "echo no such version >&2\nexit 5\n")
	p.write("package-lock.json", "{ }")
	p.fails("build", "no such version")
	p.calls()
	p.fails("build", "no such version") // and again, until it is mended
	p.write("package.json", "{")
	p.fails("build", "SyntaxError")
}

// With restart: false the process goes on, and answers with new code; of code
// that does not start it goes on with the old.
func TestNodeReloadsInPlace(t *testing.T) {
	p := newPod(t, "node")
	port := freePort(t)
	server := func(text string) {
		p.write("answer.js", "module.exports = '"+text+"'")
	}
	server("one")
	p.write("server.js", "require('http').createServer((q, a) => a.end(require('./answer.js'))).listen("+port+")")
	p.set("FMC_RESTART", "false")
	cmd := p.command("start")
	errorFile := p.cache + "/errors"
	stderr, err := os.Create(errorFile)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	p.answers(port, "one")
	p.set("FMC_PID", strconv.Itoa(cmd.Process.Pid))
	reload := func() {
		t.Helper()
		if out, err := p.run("reload"); err != nil {
			t.Fatalf("reload: %v\n%s", err, out)
		}
	}
	for _, text := range []string{"two", "three"} {
		server(text)
		reload()
		p.answers(port, text)
	}
	p.write("server.js", "process.exit(1)")
	reload()
	p.logs(errorFile, "the old code goes on")
	p.answers(port, "three")
}

// logs waits until a file holds a text.
func (p *pod) logs(file, part string) {
	p.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), part) {
			return
		}
	}
	p.Fatalf("waited in vain for %q", part)
}

func (p *pod) answers(port, want string) {
	p.Helper()
	said := ""
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		response, err := http.Get("http://127.0.0.1:" + port)
		if err != nil {
			said = err.Error()
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if said = string(body); err == nil && said == want {
			return
		}
	}
	p.Fatalf("the service answers %q, want %q", said, want)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestJavaScripts(t *testing.T) {
	p := newPod(t, "java-maven")
	p.program("java", "for last; do :; done\ncat \"$last\"\n")
	p.program("mvn", "mkdir -p target\nfor jar in app app-sources original-app; do echo $jar >target/$jar.jar; done\n")
	p.build()
	if got := p.calls(); !strings.Contains(got, "-Dmaven.repo.local="+p.cache+"/m2 package") {
		t.Errorf("mvn was called as %q", got)
	}
	p.prints("app")
	p.write("target/b.jar", "b")
	p.fails("build", "target/app.jar and target/b.jar")
	p.set("FMC_MAIN", "target/b.jar")
	p.build()
	p.prints("b")

	p = newPod(t, "java-gradle")
	p.program("java", "for last; do :; done\ncat \"$last\"\n")
	p.write("gradlew", "echo wrapper \"$@\"; mkdir -p build/libs; echo gradle >build/libs/app.jar; echo plain >build/libs/app-plain.jar\n")
	p.build()
	p.prints("gradle")
	p.write("gradlew", "echo what is wrong >&2; exit 1\n")
	p.fails("build", "what is wrong")
}

func TestRubyScripts(t *testing.T) {
	p := newPod(t, "ruby")
	p.program("ruby", "echo ruby\n")
	p.program("bundle", "case $1 in\ncheck) test -e installed ;;\ninstall) touch installed ;;\nexec) shift; exec \"$@\" ;;\nesac\n")
	p.write("app.rb", "")
	p.build()
	p.prints("ruby")
	if got := p.calls(); got != "ruby app.rb" {
		t.Errorf("without a Gemfile: %q", got)
	}
	p.write("Gemfile", "")
	p.build()
	p.build()
	if got := p.calls(); got != "bundle check\nbundle install\nbundle check" {
		t.Errorf("two builds: %q", got)
	}
	p.prints("ruby")
	if got := p.calls(); got != "bundle exec ruby app.rb\nruby app.rb" {
		t.Errorf("start: %q", got)
	}
}

func TestRustScripts(t *testing.T) {
	p := newPod(t, "rust")
	p.program("cargo", `printf '#!/bin/sh\necho rust\n' >built
chmod +x built
echo '{"reason":"compiler-artifact","executable":null}'
echo '{"reason":"compiler-artifact","executable":"'"$PWD"'/built","fresh":false}'
`)
	p.build()
	p.prints("rust")
	p.program("cargo", "echo 'error[E0425]: cannot find value' >&2; exit 101\n")
	p.fails("build", "E0425")
	p.prints("rust")
	p.program("cargo", "echo '{\"executable\":\"/x/a\"}'; echo '{\"executable\":\"/x/b\"}'\n")
	p.fails("build", "a b")
}

func TestClojureScripts(t *testing.T) {
	p := newPod(t, "clojure-lein")
	p.program("lein", "echo \"$JVM_OPTS\"\n")
	p.write("project.clj", "(defproject a)")
	p.build()
	p.build()
	if got := p.calls(); got != "lein deps" {
		t.Errorf("two builds: %q", got)
	}
	if out, err := p.run("start"); err != nil || !strings.Contains(out, "-Dclojure.server.fmc={:port,24080,:accept,clojure.core.server/repl}") {
		t.Errorf("start: %v, %s", err, out)
	}
	if got := p.calls(); got != "lein trampoline run" {
		t.Errorf("start: %q", got)
	}
	if link, err := os.Readlink(filepath.Dir(p.cache) + "/home/.m2/repository"); err != nil || link != p.cache+"/m2" {
		t.Errorf("the repository is at %q, %v", link, err)
	}
	p.set("FMC_REPL_PORT", freePort(t))
	p.fails("reload", "nothing listens")

	p = newPod(t, "clojure-deps")
	p.fails("start", "FMC_MAIN")
	p.program("clojure", "")
	p.set("FMC_MAIN", "app.core")
	p.prints("")
	if got := p.calls(); got != "clojure -M -m app.core" {
		t.Errorf("start: %q", got)
	}
}

// The scripts are POSIX sh, as /bin/sh reads them; reload is bash's.
func TestScriptsAreReadable(t *testing.T) {
	checked := 0
	for _, name := range Names() {
		found, err := Named(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		for script, text := range found.Chamber(noEnv).Scripts {
			shell := "/bin/sh"
			switch {
			case strings.Contains(script, "."): // not of a shell
				continue
			case strings.HasPrefix(text, "#!/usr/bin/env bash\n"):
				shell = "bash"
			}
			cmd := exec.Command(shell, "-n")
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s of %s: %v\n%s", script, name, err, out)
			}
			checked++
		}
	}
	if checked < 21 {
		t.Errorf("only %d scripts were read", checked)
	}
}
