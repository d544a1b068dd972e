package definition

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/reload"
	"github.com/formicarium/formicarium/kubectl-fmc/chamber"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
)

// NeedsChamber reports whether the service's image or scripts are a chamber's:
// one that it names, or the one that its directory asks for.
func (s *Service) NeedsChamber() bool {
	return s.Synced() && (s.Chamber != "" || s.Containers[0].Image == "")
}

// Furnish gives the service what its chamber has, in the place of what the
// definition does not say: image, scripts, variables, and the volumes that they
// write to.
func (s *Service) Furnish(c chamber.Chamber) {
	s.furnished = true
	container := &s.Containers[0]
	if container.Image == "" {
		container.Image = c.Image
	}
	if s.AppPath == "" {
		s.AppPath = c.AppPath
	}
	s.furnishRules(c)
	s.furnishScripts(c, container)
	for _, v := range c.Environment(s.Name) {
		setDefault(container, v.Name, v.Value)
	}
	setDefault(container, "FMC_RESTART", strconv.FormatBool(s.Restart))
	if len(s.Ports) > 0 { // what most frameworks listen on
		setDefault(container, "PORT", strconv.Itoa(int(s.Ports[0].Target)))
	}
}

// furnishRules adds the chamber's rules after the definition's: the first that
// fits counts. A build of the definition's own may depend on other files than the
// chamber's does, and what it starts itself is not what the chamber's reload
// knows.
func (s *Service) furnishRules(c chamber.Chamber) {
	rules := slices.Clone(c.Reload)
	if !s.Restart {
		rules = append(rules, c.InPlace...)
	}
	ownStart := s.Scripts["start"] != "" || len(s.Containers[0].Command) > 0
	rules = slices.DeleteFunc(rules, func(r reload.Rule) bool {
		return r.Do == reload.Build && s.Scripts["build"] != "" ||
			r.Do == reload.InPlace && ownStart && s.Scripts["reload"] == ""
	})
	s.Reload = append(s.Reload, rules...)
}

// furnishScripts adds the chamber's scripts. The definition's own go before
// them, with the chamber's environment; what builds the chamber stays within
// reach of a build of its own.
func (s *Service) furnishScripts(c chamber.Chamber, container *Container) {
	own := s.Scripts
	s.Scripts = maps.Clone(c.Scripts)
	if len(container.Command) > 0 {
		own["start"] = "exec " + shellQuoted(slices.Concat(container.Command, container.Args))
	}
	container.Command, container.Args = nil, nil
	for name, text := range own {
		if name == "build" && s.Scripts["build"] != "" {
			s.Scripts["chamber-build"] = s.Scripts["build"]
		}
		if !strings.HasPrefix(text, "#!") {
			text = sourceEnv + text
		}
		s.Scripts[name] = text
	}
}

// sourceEnv makes a script of the definition see what the chamber's do.
const sourceEnv = ". " + scriptsPath + "/env\n"

// shellQuoted writes words so that a shell reads them as they are.
func shellQuoted(words []string) string {
	quoted := make([]string, 0, len(words))
	for _, w := range words {
		quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return strings.Join(quoted, " ")
}

// setDefault sets a variable that the definition does not.
func setDefault(c *Container, name, value string) {
	for _, v := range c.Env {
		if v.Name == name {
			return
		}
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
}

// chamberName decodes the name of a chamber, of which only the cluster knows
// whether it is there.
func (d *decoder) chamberName(n *yaml.Node, path string) string {
	name, ok := d.scalar(n, path)
	if !ok {
		return ""
	}
	if err := CheckChamber(name); err != nil {
		d.fault(n, path, "%v", err)
	}
	return name
}

// ChamberAuto is the chamber that the directory asks for.
const ChamberAuto = "auto"

// CheckChamber reports a name that no chamber can have.
func CheckChamber(name string) error {
	bare, _ := chamber.ConfigMap(name)
	if err := api.CheckName("chamber", bare); err != nil {
		return fmt.Errorf("%w, %s for the one that the directory asks for, or configmap/NAME", err, ChamberAuto)
	}
	return nil
}
