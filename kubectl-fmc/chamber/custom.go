package chamber

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/reload"
	"sigs.k8s.io/yaml"
)

// Label marks a ConfigMap of a devspace as a chamber; its value is the name by
// which definitions ask for it.
const Label = "formicarium.io/chamber"

// configMapPrefix opens the name of a chamber that is a ConfigMap's own name.
const configMapPrefix = "configmap/"

// ConfigMap returns the name of the ConfigMap that a chamber's name is, and
// whether it is one; else the chamber has to be looked for by its label.
func ConfigMap(name string) (string, bool) {
	rest, found := strings.CutPrefix(name, configMapPrefix)
	return rest, found
}

// Keys of a ConfigMap.
const (
	keyImage         = "image"
	keyAppPath       = "appPath"
	keyVariables     = "variables"
	keyCaches        = "caches"
	keyServiceCaches = "serviceCaches"
	keyRules         = "rules"
)

var (
	scriptKeys = []string{"start", "build", "cleanup", "reload", "env"}
	allKeys    = append([]string{keyImage, keyAppPath, keyVariables, keyCaches, keyServiceCaches, keyRules}, scriptKeys...)
)

// readEnv is what presets' scripts begin with. A script that names its interpreter
// reads env itself, if that is a shell.
const readEnv = `. "${0%/*}/env"` + "\n"

// Parse reads a chamber from a ConfigMap's data. The error has every fault.
//
//	image: elixir:1.18               # the image
//	start: exec mix run --no-halt    # scripts: start; build, cleanup, reload where needed
//	build: mix deps.get && mix compile
//	env: export MIX_ENV=dev          # read by the other scripts first, unless they begin with #!
//	appPath: /app                    # where the code goes
//	variables: |                     # NAME=VALUE, one a line
//	  LANG=C.UTF-8
//	caches: |                        # NAME=FOLDER below the cache, shared by services
//	  MIX_HOME=mix
//	serviceCaches: |                 # the same, of each service alone
//	  MIX_BUILD_PATH=build
//	rules: |                         # what a change makes necessary
//	  - {paths: [mix.exs, mix.lock], do: build}
func Parse(name string, data map[string]string) (Chamber, error) {
	p := parser{name: name}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if !slices.Contains(allKeys, key) {
			p.fault(key, "unknown: want one of %s", list(slices.Sorted(slices.Values(allKeys)), "and"))
		}
	}
	c := Chamber{Name: name, Image: strings.TrimSpace(data[keyImage]), AppPath: strings.TrimSpace(data[keyAppPath]), Scripts: map[string]string{}}
	for _, key := range scriptKeys {
		text := data[key]
		if strings.TrimSpace(text) == "" {
			continue
		}
		if key != "env" && !strings.HasPrefix(text, "#!") {
			text = readEnv + text
		}
		c.Scripts[key] = text
	}
	if c.Scripts["start"] == "" {
		p.fault("start", "missing: give the script that starts a service")
	}
	switch {
	case c.Image == "":
		p.fault(keyImage, "missing: say which image the scripts run in")
	case strings.ContainsAny(c.Image, " \t\r\n"):
		p.fault(keyImage, "%q is not an image's name", c.Image)
	}
	if c.AppPath != "" && (!path.IsAbs(c.AppPath) || path.Clean(c.AppPath) == "/") {
		p.fault(keyAppPath, "want an absolute path below /, not %q", c.AppPath)
	}
	c.Scripts["env"] = script("env") + c.Scripts["env"]
	c.Variables = p.variables(keyVariables, data[keyVariables])
	c.Caches = append(p.caches(keyCaches, data[keyCaches], false), p.caches(keyServiceCaches, data[keyServiceCaches], true)...)
	c.Reload = p.rules(data[keyRules])
	return c, errors.Join(p.faults...)
}

type parser struct {
	name   string
	faults []error
}

func (p *parser) fault(key, format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf("reading chamber %s: key %s: %s", p.name, key, fmt.Sprintf(format, args...)))
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// variables reads lines NAME=VALUE; empty ones and those of # are left out.
func (p *parser) variables(key, text string) []Variable {
	var found []Variable
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || !variableName.MatchString(name) {
			p.fault(key, "want NAME=VALUE on each line, not %q", line)
			continue
		}
		found = append(found, Variable{name, value})
	}
	return found
}

func (p *parser) caches(key, text string, own bool) []Cache {
	var found []Cache
	for _, v := range p.variables(key, text) {
		clean := path.Clean(v.Value)
		if v.Value == "" || path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
			p.fault(key, "%s: want a folder below the cache, such as mix, not %q", v.Name, v.Value)
			continue
		}
		found = append(found, Cache{Variable: v.Name, Folder: clean, Own: own})
	}
	return found
}

func (p *parser) rules(text string) []reload.Rule {
	var rules []reload.Rule
	if err := yaml.UnmarshalStrict([]byte(text), &rules); err != nil {
		p.fault(keyRules, "want a list of {paths: [PATTERN], do: ACTION}: %v", err)
		return nil
	}
	if _, err := reload.New(rules); err != nil {
		p.fault(keyRules, "%v", err)
	}
	return rules
}
