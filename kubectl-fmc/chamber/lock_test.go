package chamber

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/testutil"
)

// bare gives the pod a PATH with what every image has, Python, and the stand-ins
// alone: the machine may have the tools that an image has not. It is called after
// program.
func (p *pod) bare() {
	p.Helper()
	if err := os.RemoveAll(p.cache + "/bare"); err != nil {
		p.Fatal(err)
	}
	out, err := exec.Command("python3", "-c", "import os, sys; print(os.path.realpath(sys.executable))").Output()
	if err != nil {
		p.Fatal(err)
	}
	p.file(p.cache+"/bare/python3", "#!/bin/sh\nexec "+strings.TrimSpace(string(out))+" \"$@\"\n", 0o755)
	for _, name := range []string{"cat", "chmod", "env", "grep", "id", "mkdir", "rm", "sha256sum", "tr"} {
		path, err := exec.LookPath(name)
		if err != nil {
			p.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(p.cache, "bare", name)); err != nil {
			p.Fatal(err)
		}
	}
	p.set("PATH", p.cache+"/tools:"+p.cache+"/bare")
}

// lockOf is as uv, poetry and pdm write it, but for what is not read here.
func lockOf(version string) string {
	return "version = 1\n\n[[package]]\nname = \"Greeting\"\nversion = \"" + version + "\"\ndependencies = [{ name = \"other\" }]\n\n[[package]]\nname = \"other\"\nversion = \"1.0\"\n"
}

// What is installed is what the lock file says, by the tool whose file it is.
func TestPythonLockFilesTool(t *testing.T) {
	wheels := t.TempDir()
	testutil.WriteWheel(t, wheels, "1.0", "TEXT = 'hello 1.0'\n")
	pip := " -m pip install -q --disable-pip-version-check --no-index --find-links " + wheels + " greeting\n"
	for tool, c := range map[string]struct{ body, calls string }{
		"uv":     {"test \"$UV_PYTHON_DOWNLOADS\" = never\n\"$UV_PROJECT_ENVIRONMENT/bin/python\"" + pip, "uv sync --locked --no-progress"},
		"poetry": {"\"$VIRTUAL_ENV/bin/python\"" + pip, "poetry install --no-interaction --no-ansi --no-root"},
		"pdm":    {"test \"$PDM_IGNORE_SAVED_PYTHON\" = 1\npython" + pip, "pdm sync --no-self"},
	} {
		t.Run(tool, func(t *testing.T) {
			p := newPod(t, "python")
			p.program(tool, "set -e\ncase $"+strings.ToUpper(tool)+"_CACHE_DIR in \""+p.cache+"\"/*) ;; *) exit 9 ;; esac\n"+c.body)
			p.bare()
			p.write("pyproject.toml", "[project]\nname = \"orders\"\nversion = \"1\"\ndependencies = [\"greeting>=1\"]\n")
			p.write("requirements.txt", "nothing-that-there-is\n") // the lock file goes before
			p.write(tool+".lock", lockOf("1.0"))
			p.write("main.py", "import sys, greeting; print(greeting.TEXT, sys.prefix == sys.base_prefix)")
			p.build()
			p.build()
			if got := p.calls(); got != c.calls {
				t.Errorf("two builds call %q, want one %q", got, c.calls)
			}
			p.prints("hello 1.0 False")
			// Of a package it installs that, too; and its own words are the build's.
			p.program(tool, "echo the lock file is stale >&2\nexit 2\n")
			p.bare()
			p.write("pyproject.toml", "[project]\nname = \"orders\"\n[build-system]\nrequires = []\n")
			p.fails("build", "the lock file is stale")
			if got := p.calls(); strings.Contains(got, "--no-root") || strings.Contains(got, "--no-self") {
				t.Errorf("of a package: %q", got)
			}
		})
	}
}

// Without the tool the error says what to do, which with each tool is another command.
func TestPythonLockFileWithoutItsTool(t *testing.T) {
	for tool, export := range map[string]string{
		"uv": "uv export --no-emit-project -o requirements.txt", "poetry": "poetry export -o requirements.txt", "pdm": "pdm export -o requirements.txt",
	} {
		p := newPod(t, "python")
		p.bare()
		p.write("pyproject.toml", "[project]\nname = \"orders\"\nversion = \"1\"\ndependencies = [\"greeting>=1\"]\n")
		p.write(tool+".lock", lockOf("1.0"))
		p.fails("build", tool+".lock takes "+tool+", which the image has not: export what it says ("+export+"), name an image that has "+tool)
	}
}

// What was exported pip installs at the lock file's versions, and nothing else.
func TestPythonExportedLockFile(t *testing.T) {
	wheels := t.TempDir()
	for _, version := range []string{"1.0", "2.0"} {
		testutil.WriteWheel(t, wheels, version, "TEXT = 'hello "+version+"'\n")
	}
	pip := "--no-index\n--find-links " + wheels + "\n"
	p := newPod(t, "python")
	p.bare()
	p.write("main.py", "import greeting; print(greeting.TEXT)")
	p.write("poetry.lock", lockOf("1.0"))

	p.write("requirements.txt", pip+"-e ./lib # not looked at\n-r more.txt\n")
	p.write("more.txt", "-r requirements.txt\ngreeting==2.0 \\\n    --hash=sha256:00\n")
	p.fails("build", "requirements.txt asks for greeting==2.0, which is not what poetry.lock says, and that takes poetry, which the image has not: export")
	p.write("more.txt", "GREETING[x]\nunknown>=1 ; python_version > '3'\n")
	p.fails("build", "requirements.txt asks for unknown>=1")

	p.write("requirements.txt", "# exported\n"+pip+"greeting==1.0 ; python_version > \"3\"  # via orders\n")
	p.build()
	p.prints("hello 1.0")
	p.write("requirements.txt", pip+"Greeting>=1\n") // the newest is 2.0
	p.build()
	p.prints("hello 1.0")
	p.write("poetry.lock", lockOf("2.0"))
	// What is in the environment goes with it: it is not the image's.
	p.file(p.cache+"/services/orders/venv/bin/poetry", "#!/bin/sh\nexit 3\n", 0o755)
	p.build()
	p.prints("hello 2.0")
}

func TestPythonLockFilesAreOne(t *testing.T) {
	p := newPod(t, "python")
	p.bare()
	p.write("uv.lock", "")
	p.write("poetry.lock", "")
	p.fails("build", "which lock file counts? There are uv.lock and poetry.lock")
}

// Pipenv, which pip brings, installs what its lock file says.
func TestPipenv(t *testing.T) {
	for _, c := range []struct{ files, calls string }{
		{"Pipfile", "pipenv install --skip-lock"},
		{"Pipfile Pipfile.lock requirements.txt", "pipenv sync"},
	} {
		p := newPod(t, "python")
		p.program("pipenv", "")
		p.set("PIP_NO_INDEX", "1")
		p.set("PIP_FIND_LINKS", t.TempDir())
		for _, name := range strings.Fields(c.files) {
			p.write(name, "")
		}
		p.fails("build", "pipenv") // pip has nowhere to get it from
		p.file(p.scripts+"/pip/pip/__main__.py", "", 0o644)
		p.file(p.scripts+"/pip/pip/__init__.py", "", 0o644)
		p.set("PYTHONPATH", p.scripts+"/pip") // a pip that is content
		p.build()
		if got := p.calls(); got != c.calls {
			t.Errorf("%s: %q, want %q", c.files, got, c.calls)
		}
	}
}

// Each lock file of Node's has the tool that reads it, as it stands.
func TestNodeLockFiles(t *testing.T) {
	const dependent = `{"dependencies": {"tool": "1"}}`
	for _, c := range []struct{ files, version, calls string }{
		{"package-lock.json", "", "npm ci --prefer-offline --no-audit"},
		{"npm-shrinkwrap.json", "", "npm ci --prefer-offline --no-audit"},
		{"", "", "npm install --prefer-offline --no-audit --no-package-lock"},
		{"yarn.lock", "1.22.22", "yarn install --prefer-offline --non-interactive --frozen-lockfile"},
		{"yarn.lock", "4.5.0", "yarn install --immutable"},
		{"pnpm-lock.yaml", "", "pnpm install --prefer-offline --store-dir CACHE/pnpm --frozen-lockfile"},
	} {
		files := map[string]string{"package.json": dependent}
		names := []string{"package.json|" + dependent}
		for _, name := range strings.Fields(c.files) {
			files[name] = ""
			names = append(names, name)
		}
		found, err := Detect(directory(names...))
		if err != nil {
			t.Fatal(err)
		}
		p := newPod(t, found.Name())
		for _, tool := range []string{"npm", "yarn", "pnpm"} {
			p.program(tool, "if [ \"$1\" = --version ]; then echo "+c.version+"; fi\n")
		}
		p.program("corepack", "")
		for name, text := range files {
			p.write(name, text)
		}
		p.build()
		calls := strings.Split(strings.ReplaceAll(p.calls(), p.cache, "CACHE"), "\n")
		if got := calls[len(calls)-1]; got != c.calls {
			t.Errorf("%q: %q, want %q", c.files, got, c.calls)
		}
	}
}

// An image that has not the tool says so, and npm says what it does not read.
func TestNodeWithoutTheTool(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	p := newPod(t, "node-pnpm")
	p.bare()
	if err := os.Symlink(node, p.cache+"/bare/node"); err != nil {
		t.Fatal(err)
	}
	p.write("package.json", `{"dependencies": {"tool": "1"}}`)
	p.write("pnpm-lock.yaml", "")
	p.fails("build", "what to install is for pnpm, which the image has not")

	p = newPod(t, "node-npm")
	p.program("npm", "")
	p.write("package.json", `{"dependencies": {"tool": "1"}}`)
	p.write("pnpm-lock.yaml", "")
	if out, err := p.run("build"); err != nil || !strings.Contains(out, "npm does not read pnpm-lock.yaml: deploy again") {
		t.Errorf("npm beside pnpm's lock file: %v, %q", err, out)
	}
}
