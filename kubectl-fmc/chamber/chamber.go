// Package chamber knows what a service needs to run straight from its
// directory: an image, and scripts that build, start and reload it.
//
//	found, err := chamber.Detect(os.DirFS("./orders"))   // python, for requirements.txt
//	c := found.Chamber(os.Getenv)                        // image, scripts, caches, rules
//	err = service.Furnish(c)                             // into what is deployed
//
// A chamber is one of three: a preset of this package that the directory's
// files ask for (Detect), a preset that was named (Named), or one of the user's
// own, a ConfigMap of the devspace (Parse). Presets point at the languages'
// own public images; Stinger is injected, so nothing has to be in them.
//
// The scripts are POSIX sh in scripts/, one folder for each language; env is
// what the others, and those of a definition, read first. They find what is to
// be kept in directories of one volume:
//
//	FMC_CACHE          downloads, which services may share
//	FMC_SERVICE_CACHE  what is made for one service: a virtual environment,
//	                   compiled programs
//
// and the rest of the environment is in the variables that each tool has for
// that. A service's own script in .fmc (start, build, reload) goes before the
// chamber's. FMC_MAIN names what to run where the scripts cannot tell.
package chamber

import (
	"cmp"
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/reload"
)

// Chamber is an image with its scripts.
type Chamber struct {
	// Name is what a definition calls it: python, node-pnpm, configmap/mine.
	Name  string
	Image string
	// AppPath is where the code goes; empty leaves it to Stinger.
	AppPath string
	// Scripts by name: start, build, cleanup, reload, and env, which the
	// others read.
	Scripts map[string]string
	// Variables are set in the container unless the definition does.
	Variables []Variable
	// Caches are variables that name directories below the cache.
	Caches []Cache
	// Reload says what a change of which files makes necessary; see package
	// internal/reload.
	Reload []reload.Rule
	// InPlace comes after Reload where the service's process is to go on at a
	// change (restart: false).
	InPlace []reload.Rule
}

// Variable is one of the environment.
type Variable struct{ Name, Value string }

// Cache is a variable that names a directory.
type Cache struct {
	Variable string
	// Folder is relative to the cache, or to the service's part of it.
	Folder string
	// Own is set for what services cannot share.
	Own bool
}

// Places in the container. Home is a volume of the pod; CachePath may outlive
// it.
const (
	HomePath  = "/fmc/home"
	CachePath = "/fmc/cache"
)

// ServiceCache is the part of the cache that is one service's.
func ServiceCache(service string) string { return path.Join(CachePath, "services", service) }

// Environment returns the chamber's variables for a service.
func (c Chamber) Environment(service string) []Variable {
	vars := []Variable{{"FMC_CACHE", CachePath}, {"FMC_SERVICE_CACHE", ServiceCache(service)}, {"HOME", HomePath}}
	for _, cache := range c.Caches {
		base := CachePath
		if cache.Own {
			base = ServiceCache(service)
		}
		vars = append(vars, Variable{cache.Variable, path.Join(base, cache.Folder)})
	}
	return append(vars, c.Variables...)
}

//go:embed scripts
var scripts embed.FS

// language is a preset before a tool is chosen.
type language struct {
	name string
	// marks are files by which the language is known, hints those that count
	// where no directory has marks of any.
	marks, hints []string
	// tools are what builds it; the first one where nothing tells.
	tools     []tool
	variables []Variable
	caches    []Cache
	rules     []reload.Rule
	inPlace   []reload.Rule
}

// tool is one way to build a language, with the image that has it.
type tool struct {
	name, image string
	marks       []string
}

// languages are the presets. The rules name the paths for which something else
// is done than the default, a start without a build. Compiled languages have no
// rules, and so build at any change: data may be compiled in (go:embed,
// resources, include_str!), and a compiler knows at once that nothing has changed.
var languages = []language{
	{
		name:  "python",
		marks: []string{"requirements.txt", "pyproject.toml", "Pipfile", "setup.py", "manage.py", "uv.lock", "poetry.lock", "pdm.lock"},
		hints: []string{"*.py"},
		tools: []tool{{image: "python:3.13-slim"}},
		variables: []Variable{
			{"PYTHONUNBUFFERED", "1"},
			// Python tells stale bytecode by the second and the size, and a
			// save may run within a second of the one before.
			{"PYTHONDONTWRITEBYTECODE", "1"},
		},
		caches: []Cache{
			{"PIP_CACHE_DIR", "pip", false}, {"PIPENV_CACHE_DIR", "pipenv", false}, {"UV_CACHE_DIR", "uv", false},
			{"POETRY_CACHE_DIR", "poetry", false}, {"PDM_CACHE_DIR", "pdm", false},
		},
		rules: []reload.Rule{
			{Paths: []string{"requirements*.txt", "requirements/**", "constraints*.txt", "pyproject.toml", "Pipfile", "Pipfile.lock", "setup.py", "setup.cfg",
				"uv.lock", "uv.toml", "poetry.lock", "poetry.toml", "pdm.lock", "pdm.toml"}, Do: reload.Build},
		},
	},
	{
		name:  "node",
		marks: []string{"package.json"},
		hints: []string{"*.js", "*.mjs", "*.cjs"},
		tools: []tool{
			{"npm", "node:22-slim", []string{"package-lock.json", "npm-shrinkwrap.json"}},
			{"yarn", "node:22-slim", []string{"yarn.lock"}},
			{"pnpm", "node:22-slim", []string{"pnpm-lock.yaml"}},
		},
		variables: []Variable{{"npm_config_update_notifier", "false"}, {"npm_config_fund", "false"}, {"COREPACK_ENABLE_DOWNLOAD_PROMPT", "0"}},
		caches: []Cache{
			{"npm_config_cache", "npm", false}, {"YARN_CACHE_FOLDER", "yarn", false},
			{"YARN_GLOBAL_FOLDER", "yarn-berry", false}, {"COREPACK_HOME", "corepack", false},
		},
		rules: []reload.Rule{
			{Paths: []string{"package.json", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", ".yarnrc*"}, Do: reload.Build},
		},
		inPlace: []reload.Rule{{Paths: []string{"*"}, Do: reload.InPlace}},
	},
	{
		name:      "go",
		marks:     []string{"go.mod"},
		tools:     []tool{{image: "golang:1.26"}},
		variables: []Variable{{"GOFLAGS", "-buildvcs=false"}}, // there is no repository in the pod
		caches:    []Cache{{"GOPATH", "go", false}, {"GOMODCACHE", "go-mod", false}, {"GOCACHE", "go-build", false}},
	},
	{
		name:  "java",
		marks: []string{"pom.xml", "build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts", "mvnw", "gradlew"},
		tools: []tool{
			{"maven", "maven:3-eclipse-temurin-21", []string{"pom.xml", "mvnw"}},
			{"gradle", "gradle:8-jdk21", []string{"build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts", "gradlew"}},
		},
		// Java asks the user database for its home, which does not know every uid.
		variables: []Variable{{"MAVEN_OPTS", "-Duser.home=" + HomePath}, {"GRADLE_OPTS", "-Duser.home=" + HomePath}},
		caches:    []Cache{{"FMC_MAVEN_REPOSITORY", "m2", false}, {"MAVEN_USER_HOME", "maven", false}, {"GRADLE_USER_HOME", "gradle", false}},
	},
	{
		name:  "clojure",
		marks: []string{"project.clj", "deps.edn"},
		tools: []tool{
			{"lein", "clojure:temurin-21-lein", []string{"project.clj"}},
			{"deps", "clojure:temurin-21-tools-deps", []string{"deps.edn"}},
		},
		variables: []Variable{
			{"LEIN_JVM_OPTS", "-Duser.home=" + HomePath + " -XX:+TieredCompilation -XX:TieredStopAtLevel=1"},
			{"CLJ_JVM_OPTS", "-Duser.home=" + HomePath},
		},
		caches: []Cache{
			{"FMC_MAVEN_REPOSITORY", "m2", false}, {"LEIN_HOME", "lein", false},
			{"CLJ_CONFIG", "clojure", false}, {"GITLIBS", "gitlibs", false}, {"CLJ_CACHE", "cpcache", true},
		},
		rules: []reload.Rule{
			{Paths: []string{"project.clj", "deps.edn"}, Do: reload.Build},
			{Paths: []string{"*.clj", "*.cljc"}, Do: reload.InPlace},
		},
	},
	{
		name:   "ruby",
		marks:  []string{"Gemfile"},
		hints:  []string{"*.rb", "config.ru"},
		tools:  []tool{{image: "ruby:3.4"}}, // not slim: gems compile
		caches: []Cache{{"BUNDLE_USER_CACHE", "bundle", false}, {"BUNDLE_PATH", "gems", true}, {"BUNDLE_APP_CONFIG", "bundle", true}},
		variables: []Variable{
			{"BUNDLE_GLOBAL_GEM_CACHE", "true"}, {"BUNDLE_SILENCE_ROOT_WARNING", "true"},
		},
		rules: []reload.Rule{
			{Paths: []string{"Gemfile", "Gemfile.lock", "*.gemspec", ".ruby-version"}, Do: reload.Build},
		},
	},
	{
		name:   "rust",
		marks:  []string{"Cargo.toml"},
		tools:  []tool{{image: "rust:1"}},
		caches: []Cache{{"CARGO_HOME", "cargo", false}, {"CARGO_TARGET_DIR", "target", true}},
	},
}

// Names of the presets, those of a single tool after their language's.
func Names() []string {
	var names []string
	for _, l := range languages {
		names = append(names, l.name)
		for _, t := range l.tools {
			if len(l.tools) > 1 {
				names = append(names, l.name+"-"+t.name)
			}
		}
	}
	return names
}

// IsPreset reports whether name is one of Names.
func IsPreset(name string) bool { return slices.Contains(Names(), name) }

// ImageVariable is the laptop's environment variable that names another image
// for a language: FMC_CHAMBER_PYTHON_IMAGE.
func ImageVariable(language string) string {
	return "FMC_CHAMBER_" + strings.ToUpper(language) + "_IMAGE"
}

// Chamber returns the preset that was chosen. The environment may name another
// image, a mirror's for example.
func (c Choice) Chamber(getenv func(string) string) Chamber {
	l, t := c.language, c.tool
	chamber := Chamber{
		Name:      c.Name(),
		Image:     cmp.Or(getenv(ImageVariable(l.name)), t.image),
		Scripts:   map[string]string{"env": script("env") + script(l.name+"/env")},
		Variables: slices.Clone(l.variables),
		Caches:    l.caches,
		Reload:    l.rules,
		InPlace:   l.inPlace,
	}
	if t.name != "" {
		chamber.Variables = append(chamber.Variables, Variable{"FMC_TOOL", t.name})
	}
	for _, name := range []string{"start", "build", "cleanup", "reload", "reload.clj", "hot.cjs", "locked.py"} {
		if text := script(l.name + "/" + name); text != "" {
			chamber.Scripts[name] = text
		}
	}
	return chamber
}

// script returns an embedded file; not every language has each.
func script(name string) string {
	text, err := scripts.ReadFile("scripts/" + name)
	if err != nil {
		return ""
	}
	return string(text)
}

// list joins words for people: a, b and c.
func list(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return fmt.Sprintf("%s %s %s", strings.Join(words[:len(words)-1], ", "), last, words[len(words)-1])
}
