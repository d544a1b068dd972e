package definition

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// definition decodes a whole file.
func (d *decoder) definition(root *yaml.Node, name string) *Definition {
	keys := map[string]bool{}
	for _, p := range d.pairs(root, "") {
		keys[p.key.Value] = true
	}
	switch {
	case len(d.faults) > 0:
		return nil
	case keys["containers"]:
		d.plain = true
		return &Definition{Services: []*Service{d.original(root, name)}}
	case keys["services"]:
		return d.services(root)
	default:
		return &Definition{Services: []*Service{d.service(root, "", name, ".")}}
	}
}

func (d *decoder) services(root *yaml.Node) *Definition {
	definition := &Definition{}
	d.mapping(root, "", fields{"services": func(n *yaml.Node, path string) {
		for _, p := range d.pairs(n, path) {
			s := d.service(p.value, join(path, p.key.Value), p.key.Value, "")
			definition.Services = append(definition.Services, s)
		}
		if len(definition.Services) == 0 {
			d.fault(n, path, "has no service")
		}
	}})
	return definition
}

// service decodes one service. In a file of its own (path "") it may carry its
// name.
func (d *decoder) service(n *yaml.Node, path, name, folder string) *Service {
	s := &Service{Name: name, Path: folder, Restart: true, Trace: true, Replicas: 1, Scripts: map[string]string{}}
	c := &Container{}
	known := d.serviceFields(s, c)
	if path == "" {
		known["name"] = func(n *yaml.Node, path string) {
			own := d.text(n, path)
			if s.Name == "" {
				s.Name = own
			}
		}
	}
	nodes := known.record()
	d.mapping(n, path, known)
	d.checkService(n, path, s, c)
	d.checkSlips(nodes, path, s, c)
	c.Name, c.Sync = s.Name, s.Path != ""
	for i := range s.Ports {
		s.Ports[i].Container = c.Name
	}
	s.Containers = []Container{*c}
	return s
}

func (d *decoder) serviceFields(s *Service, c *Container) fields {
	script := func(name string) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) { s.Scripts[name] = d.text(n, path) }
	}
	return fields{
		"path":         func(n *yaml.Node, path string) { s.Path = d.text(n, path) },
		"image":        func(n *yaml.Node, path string) { c.Image = d.text(n, path) },
		"chamber":      func(n *yaml.Node, path string) { s.Chamber = d.chamberName(n, path) },
		"cache":        func(n *yaml.Node, path string) { s.Cache = d.cache(n, path) },
		"command":      func(n *yaml.Node, path string) { c.Command = d.texts(n, path) },
		"args":         func(n *yaml.Node, path string) { c.Args = d.texts(n, path) },
		"start":        script("start"),
		"build":        script("build"),
		"cleanup":      script("cleanup"),
		"reload":       func(n *yaml.Node, path string) { s.Reload = d.reloadRules(n, path) },
		"reloadScript": script("reload"),
		"handover":     func(n *yaml.Node, path string) { s.Handover = d.boolean(n, path) },
		"env":          func(n *yaml.Node, path string) { c.Env = d.env(n, path) },
		"ports":        func(n *yaml.Node, path string) { s.Ports = d.ports(n, path) },
		"restart":      func(n *yaml.Node, path string) { s.Restart = d.boolean(n, path) },
		"appPath":      func(n *yaml.Node, path string) { s.AppPath = d.absolute(n, path) },
		"trace":        func(n *yaml.Node, path string) { s.Trace = d.boolean(n, path) },
		"replicas":     func(n *yaml.Node, path string) { s.Replicas = d.number(n, path, 0, maxReplicas) },
		"readiness":    func(n *yaml.Node, path string) { c.Readiness = d.readiness(n, path) },
		"resources":    func(n *yaml.Node, path string) { c.Resources = d.resources(n, path) },
		"annotations":  func(n *yaml.Node, path string) { s.Annotations = d.annotations(n, path) },
		"patches": func(n *yaml.Node, path string) {
			d.items(n, path, func(n *yaml.Node, path string) { s.Patches = append(s.Patches, d.patches(n, path)...) })
		},
	}
}

// maxReplicas is a guard against a slip, not a limit that anybody should meet:
// a devspace is one developer's.
const maxReplicas = 100

func (d *decoder) checkService(n *yaml.Node, path string, s *Service, c *Container) {
	if err := checkServiceName(s.Name); err != nil {
		if s.Name == "" {
			d.fault(n, path, "the service has no name: give one on the command line or as name")
		} else {
			d.fault(n, path, "%v", err)
		}
	}
	if c.Image == "" && s.Path == "" && s.Chamber == "" {
		d.fault(n, path, "image is missing: only a synced directory (path) can say by its files what it needs")
	}
	if s.Chamber != "" && s.Path == "" {
		d.fault(n, path, "chamber needs path: its scripts run a synced directory")
	}
	if len(c.Args) > 0 && len(c.Command) == 0 && (s.Chamber != "" || c.Image == "") {
		d.fault(n, path, "args need command here: a chamber's own start takes none")
	}
	if s.Scripts["start"] != "" && c.Command != nil {
		d.fault(n, path, "has both start and command: give one of them")
	}
	if s.Path == "" {
		for _, name := range []string{"start", "build", "cleanup"} {
			if s.Scripts[name] != "" {
				d.fault(n, path, "%s needs path: without a synced directory nothing runs it", name)
			}
		}
	} else if !filepath.IsAbs(s.Path) {
		s.Path = filepath.Join(d.folder, s.Path)
	}
	seen := map[string]bool{}
	for _, p := range s.Ports {
		if seen[p.Name] {
			d.fault(n, join(path, "ports"), "two ports are called %q", p.Name)
		}
		seen[p.Name] = true
	}
}

func (d *decoder) env(n *yaml.Node, path string) []corev1.EnvVar {
	var vars []corev1.EnvVar
	for _, p := range d.pairs(n, path) {
		name, at := p.key.Value, join(path, p.key.Value)
		if faults := validation.IsEnvVarName(name); len(faults) > 0 {
			d.fault(p.key, path, "variable name %q: %s", name, strings.Join(faults, "; "))
		}
		if p.value.Kind == yaml.MappingNode {
			vars = append(vars, corev1.EnvVar{Name: name, ValueFrom: d.envSource(p.value, at)})
			continue
		}
		vars = append(vars, corev1.EnvVar{Name: name, Value: d.text(p.value, at)})
	}
	return vars
}

func (d *decoder) envSource(n *yaml.Node, path string) *corev1.EnvVarSource {
	var secret, configMap, key string
	d.mapping(n, path, fields{
		"secret":    func(n *yaml.Node, path string) { secret = d.text(n, path) },
		"configMap": func(n *yaml.Node, path string) { configMap = d.text(n, path) },
		"key":       func(n *yaml.Node, path string) { key = d.text(n, path) },
	})
	if (secret == "") == (configMap == "") || key == "" {
		d.fault(n, path, "want {secret: NAME, key: KEY} or {configMap: NAME, key: KEY}")
	}
	if secret != "" {
		return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key}}
	}
	return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}, Key: key}}
}

func (d *decoder) ports(n *yaml.Node, path string) []Port {
	var ports []Port
	taken := map[string]bool{}
	d.items(n, path, func(n *yaml.Node, path string) {
		p, faults := Port{Protocol: corev1.ProtocolTCP}, len(d.faults)
		if n.Kind != yaml.MappingNode {
			p.Port = d.port(n, path)
		} else {
			d.mapping(n, path, fields{
				"name":     func(n *yaml.Node, path string) { p.Name = d.text(n, path) },
				"port":     func(n *yaml.Node, path string) { p.Port = d.port(n, path) },
				"target":   func(n *yaml.Node, path string) { p.Target = d.port(n, path) },
				"protocol": func(n *yaml.Node, path string) { p.Protocol = protocol(d.oneOf(n, path, "tcp", "udp")) },
			})
			if p.Port == 0 {
				d.fault(n, path, "port is missing")
			}
		}
		p = d.completePort(n, path, p)
		if len(d.faults) == faults { // else its number is not what was meant
			if taken[p.number()] {
				d.fault(n, path, "two ports are %s", p.number())
			}
			taken[p.number()] = true
		}
		ports = append(ports, p)
	})
	return ports
}

// number is what a Service may have once: 8080/tcp.
func (p Port) number() string {
	return fmt.Sprintf("%d/%s", p.Port, strings.ToLower(string(p.Protocol)))
}

func (d *decoder) completePort(n *yaml.Node, path string, p Port) Port {
	if p.Target == 0 {
		p.Target = p.Port
	}
	if p.Name == "" {
		p.Name = portName(p.Port)
	}
	if faults := validation.IsValidPortName(p.Name); len(faults) > 0 {
		d.fault(n, path, "port name %q: %s", p.Name, strings.Join(faults, "; "))
	}
	return p
}

func protocol(name string) corev1.Protocol { return corev1.Protocol(strings.ToUpper(name)) }

// port decodes a port that a service may listen on.
func (d *decoder) port(n *yaml.Node, path string) int32 {
	p := d.number(n, path, 1, 65535)
	if err := checkPort(p); err != nil {
		d.fault(n, path, "%v", err)
	}
	return p
}

// checkPort reports a port that is taken in every pod.
func checkPort(p int32) error {
	switch {
	case p >= api.OwnPortFirst && p <= api.OwnPortLast:
		return fmt.Errorf("ports %d to %d are Formicarium's own in every pod: choose another", api.OwnPortFirst, api.OwnPortLast)
	case p >= api.NetraOutboundPort && p <= api.NetraAdminPort:
		return fmt.Errorf("ports %d to %d are netra's in every pod: choose another", api.NetraOutboundPort, api.NetraAdminPort)
	}
	return nil
}

// portName is the name of a port that was given none.
func portName(p int32) string { return "port-" + strconv.Itoa(int(p)) }

func (d *decoder) readiness(n *yaml.Node, path string) *Readiness {
	r := &Readiness{}
	d.mapping(n, path, fields{
		"path":    func(n *yaml.Node, path string) { r.Path = d.text(n, path) },
		"port":    func(n *yaml.Node, path string) { r.Port = d.number(n, path, 1, 65535) },
		"command": func(n *yaml.Node, path string) { r.Command = d.texts(n, path) },
	})
	switch {
	case len(r.Command) > 0 && (r.Port != 0 || r.Path != ""):
		d.fault(n, path, "has both command and port: give one of them")
	case len(r.Command) == 0 && r.Port == 0:
		d.fault(n, path, "want {path: /healthz, port: 8080}, {port: 8080} or {command: […]}")
	case r.Path != "" && !strings.HasPrefix(r.Path, "/"):
		d.fault(n, path, "path %q must begin with /", r.Path)
	}
	return r
}

func (d *decoder) resources(n *yaml.Node, path string) corev1.ResourceRequirements {
	var r corev1.ResourceRequirements
	d.mapping(n, path, fields{
		"requests": func(n *yaml.Node, path string) { r.Requests = d.quantities(n, path) },
		"limits":   func(n *yaml.Node, path string) { r.Limits = d.quantities(n, path) },
	})
	return r
}

func (d *decoder) quantities(n *yaml.Node, path string) corev1.ResourceList {
	quantities := corev1.ResourceList{}
	for _, p := range d.pairs(n, path) {
		text := d.text(p.value, join(path, p.key.Value))
		q, err := resource.ParseQuantity(text)
		if err != nil {
			d.fault(p.value, join(path, p.key.Value), "want a quantity such as 100m, 0.5 or 256Mi, not %q", text)
			continue
		}
		quantities[corev1.ResourceName(p.key.Value)] = q
	}
	return quantities
}

func (d *decoder) annotations(n *yaml.Node, path string) map[string]string {
	annotations := map[string]string{}
	for _, p := range d.pairs(n, path) {
		if faults := validation.IsQualifiedName(p.key.Value); len(faults) > 0 {
			d.fault(p.key, path, "annotation %q: %s", p.key.Value, strings.Join(faults, "; "))
		}
		annotations[p.key.Value] = d.text(p.value, join(path, p.key.Value))
	}
	return annotations
}

// absolute decodes a path in a container.
func (d *decoder) absolute(n *yaml.Node, path string) string {
	text := d.text(n, path)
	if !strings.HasPrefix(text, "/") || text == "/" {
		d.fault(n, path, "want an absolute path below /, not %q", text)
	}
	return text
}
