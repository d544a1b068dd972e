package definition

import (
	"fmt"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"go.yaml.in/yaml/v3"
)

// record makes the fields keep the nodes that they are called with, by key.
func (f fields) record() map[string]*yaml.Node {
	nodes := map[string]*yaml.Node{}
	for key, decode := range f {
		f[key] = func(n *yaml.Node, path string) {
			nodes[key] = n
			decode(n, path)
		}
	}
	return nodes
}

// checkSlips reports what each by itself is right, and together has no effect
// or another one than meant.
func (d *decoder) checkSlips(nodes map[string]*yaml.Node, path string, s *Service, c *Container) {
	if s.Scripts["start"] != "" && len(c.Args) > 0 {
		d.fault(nodes["args"], join(path, "args"), "has no effect beside start: write the arguments into the script")
	}
	if env := resolve(orNone(nodes["env"])); env.Kind == yaml.MappingNode {
		for i := 0; i < len(env.Content); i += 2 {
			key := env.Content[i]
			if way := ownVariable(key.Value, s.Path != ""); way != "" {
				d.fault(key, join(path, "env"), "variable %s is %s", key.Value, way)
			}
		}
	}
	d.checkPatchKinds(nodes["patches"], join(path, "patches"), s)
	d.checkReload(nodes, path, s)
}

func orNone(n *yaml.Node) *yaml.Node {
	if n == nil {
		return &yaml.Node{}
	}
	return n
}

// stingerVariables are Stinger's without the common prefix; the webhook sets
// them in the service's own container.
var stingerVariables = []string{api.EnvGitURL, api.EnvAppPath, api.EnvStartAfterPull}

// netraVariables are those of netra and netra-init without the common prefix.
// They are read in netra's containers, where env does not go.
var netraVariables = []string{api.EnvInboundPorts, api.EnvOutboundPorts}

// ownVariable tells whose a variable is and how it is set; "" where it is the
// service's.
func ownVariable(name string, synced bool) string {
	annotation := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	switch {
	case strings.HasPrefix(name, "NETRA_") || slices.Contains(netraVariables, name):
		return fmt.Sprintf("netra's, which does not see it here: set the annotation %s/%s", api.Domain, annotation)
	case !synced:
		return "" // there is no Stinger
	case name == api.EnvAppPath:
		return "Stinger's: set appPath"
	case name == api.EnvStartAfterPull:
		return "Stinger's: set restart"
	case name == api.EnvStingerReload:
		return "Stinger's: set reload"
	case name == api.EnvStingerListen:
		return "Stinger's: set handover"
	case name == api.EnvStingerGrace || name == api.EnvStingerBuildTimeout:
		return fmt.Sprintf("Stinger's: set the annotation %s/%s", api.Domain, annotation)
	case strings.HasPrefix(name, "STINGER_") || slices.Contains(stingerVariables, name):
		return "Stinger's, and set by the deploy: choose another name"
	}
	return ""
}

// checkPatchKinds reports patches of objects that the service does not have.
func (d *decoder) checkPatchKinds(patches *yaml.Node, path string, s *Service) {
	missing := map[string]string{}
	if len(s.Ports) == 0 {
		missing["Service"] = "the service has no ports, and so no Service to patch"
	}
	if len(s.Scripts) == 0 && s.Chamber == "" {
		missing["ConfigMap"] = "the service has no scripts, and so no ConfigMap to patch"
	}
	for i, item := range resolve(orNone(patches)).Content {
		item = resolve(item)
		for j := 0; j+1 < len(item.Content) && item.Kind == yaml.MappingNode; j += 2 {
			value := resolve(item.Content[j+1])
			if why := missing[value.Value]; item.Content[j].Value == "kind" && why != "" {
				d.fault(value, fmt.Sprintf("%s[%d].kind", path, i), "%s", why)
			}
		}
	}
}
