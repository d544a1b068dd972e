package chamber

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/formicarium/formicarium/internal/testutil"
	"sigs.k8s.io/yaml"
)

func noEnv(string) string { return "" }

// directory has the named files; one after which a | stands has a text.
func directory(files ...string) fs.FS {
	dir := fstest.MapFS{}
	for _, f := range files {
		name, text, _ := strings.Cut(f, "|")
		dir[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return dir
}

func TestDetect(t *testing.T) {
	for files, want := range map[string]string{
		"requirements.txt app.py":                    "python requirements.txt",
		"pyproject.toml":                             "python pyproject.toml",
		"pyproject.toml uv.lock":                     "python pyproject.toml,uv.lock",
		"pyproject.toml poetry.lock":                 "python poetry.lock,pyproject.toml",
		"pdm.lock":                                   "python pdm.lock",
		"Pipfile Pipfile.lock":                       "python Pipfile",
		"setup.py":                                   "python setup.py",
		"app.py util.py":                             "python app.py,util.py",
		"app.py eslint.config.js":                    "python app.py",
		"package.json":                               "node-npm package.json",
		"package.json package-lock.json":             "node-npm package.json,package-lock.json",
		"package.json yarn.lock":                     "node-yarn package.json,yarn.lock",
		"package.json pnpm-lock.yaml":                "node-pnpm package.json,pnpm-lock.yaml",
		`package.json|{"packageManager":"pnpm@9.1"}`: "node-pnpm package.json",
		`package.json|{"packageManager":"yarn@4"} package-lock.json yarn.lock`: "node-yarn package.json",
		`package.json|{"packageManager":"bun@1"}`:                              "node-npm package.json",
		`package.json|{`:           "node-npm package.json",
		"server.js":                "node-npm server.js",
		"package.json script.py":   "node-npm package.json", // a mark goes before a hint
		"go.mod go.sum main.go":    "go go.mod",
		"pom.xml":                  "java-maven pom.xml",
		"pom.xml mvnw":             "java-maven mvnw,pom.xml",
		"build.gradle.kts gradlew": "java-gradle build.gradle.kts,gradlew",
		"build.gradle":             "java-gradle build.gradle",
		"project.clj":              "clojure-lein project.clj",
		"deps.edn":                 "clojure-deps deps.edn",
		"Gemfile config.ru":        "ruby Gemfile",
		"config.ru":                "ruby config.ru",
		"Cargo.toml":               "rust Cargo.toml",
	} {
		found, err := Detect(directory(strings.Fields(files)...))
		if err != nil {
			t.Errorf("%s: %v", files, err)
			continue
		}
		if got := found.Name() + " " + strings.Join(found.Found, ","); got != want {
			t.Errorf("%s: found %q, want %q", files, got, want)
		}
	}
}

func TestDetectSaysWhatIsAmbiguous(t *testing.T) {
	for files, parts := range map[string][]string{
		"":                              {"no chamber fits", "requirements.txt", "package.json", "go.mod", "pom.xml", "project.clj", "Gemfile", "Cargo.toml", "--chamber", "--image"},
		"README.md":                     {"no chamber fits"},
		"package.json requirements.txt": {"python (requirements.txt) and node (package.json)", "chamber: python or node"},
		"app.py server.js":              {"python (app.py) and node (server.js)"},
		"package.json yarn.lock package-lock.json": {"package-lock.json and yarn.lock", "chamber: node-npm or node-yarn"},
		"pom.xml build.gradle":                     {"pom.xml and build.gradle", "chamber: java-maven or java-gradle"},
		"project.clj deps.edn":                     {"chamber: clojure-lein or clojure-deps"},
	} {
		_, err := Detect(directory(strings.Fields(files)...))
		if err == nil {
			t.Errorf("%q: no error", files)
			continue
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %v, want %q in it", files, err, part)
			}
		}
	}
	if _, err := Detect(os.DirFS(t.TempDir() + "/missing")); err == nil {
		t.Error("a missing directory has a chamber")
	}
}

func TestNamed(t *testing.T) {
	for name, want := range map[string]string{
		"python": "python", "java": "java-gradle", "java-maven": "java-maven", "node": "node-npm",
	} {
		found, err := Named(name, directory("gradlew", "package.json"))
		if err != nil || found.Name() != want {
			t.Errorf("Named(%q) = %s, %v, want %s", name, found.Name(), err, want)
		}
	}
	if _, err := Named("java", directory("pom.xml", "gradlew")); err == nil {
		t.Error("java was chosen between two tools")
	}
	if _, err := Named("cobol", nil); err == nil || !strings.Contains(err.Error(), "node-pnpm") {
		t.Errorf("Named(cobol) = %v, want an error that lists the presets", err)
	}
}

// The presets but for their scripts, as they reach a pod.
func TestPresets(t *testing.T) {
	var out strings.Builder
	for _, name := range Names() {
		found, err := Named(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := found.Chamber(noEnv)
		if c.Scripts["start"] == "" || c.Scripts["build"] == "" || c.Scripts["env"] == "" {
			t.Errorf("%s lacks a script: it has %d", name, len(c.Scripts))
		}
		scripts := make([]string, 0, len(c.Scripts))
		for script := range c.Scripts {
			scripts = append(scripts, script)
		}
		text, err := yaml.Marshal(map[string]any{
			"image": c.Image, "environment": c.Environment("orders"), "rules": c.Reload, "scripts": len(scripts),
		})
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("--- " + name + "\n")
		out.Write(text)
	}
	testutil.Golden(t, "testdata/presets.golden.yaml", []byte(out.String()))
}

func TestAnotherImage(t *testing.T) {
	found, err := Named("node-pnpm", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := found.Chamber(func(name string) string {
		return map[string]string{"FMC_CHAMBER_NODE_IMAGE": "mirror/node:22"}[name]
	})
	if c.Image != "mirror/node:22" {
		t.Errorf("image %q", c.Image)
	}
}

func TestParse(t *testing.T) {
	c, err := Parse("elixir", map[string]string{
		"image": "elixir:1.18\n", "start": "mix run", "build": "mix compile", "env": "export A=1\n", "appPath": "/srv",
		"variables": "LANG=C.UTF-8\n# a remark\n\nEMPTY=", "caches": "MIX_HOME=mix", "serviceCaches": "MIX_BUILD_PATH=./build/",
		"rules": `[{paths: [mix.exs], do: build}, {paths: ["**"], do: signal, signal: HUP}]`,
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(map[string]any{"image": c.Image, "appPath": c.AppPath, "environment": c.Environment("orders"), "rules": c.Reload})
	if err != nil {
		t.Fatal(err)
	}
	testutil.Golden(t, "testdata/own.golden.yaml", text)
	if !strings.HasSuffix(c.Scripts["env"], "export A=1\n") || !strings.Contains(c.Scripts["env"], "own()") {
		t.Errorf("env is\n%s", c.Scripts["env"])
	}
}

// The scripts of one's own chamber have what its env sets, as a preset's have.
func TestOwnScriptsReadEnv(t *testing.T) {
	c, err := Parse("own", map[string]string{
		"image": "x", "start": `echo "start $A"`, "build": `echo "build $A"`, "env": "export A=1",
		"cleanup": "#!/bin/sh\necho \"cleanup $A\"",
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range c.Scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"start": "start 1\n", "build": "build 1\n", "cleanup": "cleanup \n"} {
		command := exec.Command("/bin/sh", filepath.Join(dir, name))
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "HOME=" + dir}
		if out, err := command.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%s: %q, %v, want %q", name, out, err, want)
		}
	}
}

func TestParseReportsAllFaults(t *testing.T) {
	_, err := Parse("configmap/bad", map[string]string{
		"image": "a b", "imgae": "x", "appPath": "srv", "variables": "1ST=x\nno", "caches": "A=/etc\nB=../..\nC=",
		"rules": `[{paths: [], do: build}, {paths: [a], do: explode}, {paths: [a], do: signal}]`,
	})
	if err == nil {
		t.Fatal("no fault found")
	}
	if _, ruleErr := Parse("bad", map[string]string{"image": "a", "start": "b", "rules": "build"}); ruleErr == nil || !strings.Contains(ruleErr.Error(), "want a list") {
		t.Errorf("rules that are no list: %v", ruleErr)
	}
	if _, emptyErr := Parse("bad", nil); emptyErr == nil || !strings.Contains(emptyErr.Error(), "key image: missing") {
		t.Errorf("an empty ConfigMap: %v", emptyErr)
	}
	testutil.Golden(t, "testdata/faults.golden.txt", []byte(err.Error()+"\n"))
}
