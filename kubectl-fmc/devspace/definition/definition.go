// Package definition reads the files that say how services run, and turns them
// into what is applied to a cluster.
//
//	d, err := definition.Read("fmc.yaml", definition.Options{LookupEnv: os.LookupEnv})
//	objects, err := d.Services[0].Objects("mine")
//
// A file in YAML or JSON describes one service or several:
//
//	services:
//	  orders:
//	    path: ./orders                  # what is synced, relative to the file; without it the image runs as it is
//	    image: ${PYTHON_IMAGE:-python:3.13-slim}  # without it: a chamber's
//	    chamber: python                 # or auto, or one of the user's own; see package chamber
//	    cache: {size: 5Gi, shared: true} # a volume for dependencies that outlives the pod
//	    command: [python3, app.py]      # else the image's own, run in the synced directory
//	    args: [--verbose]               # appended to the command
//	    start: exec python3 app.py      # or scripts: start in place of command,
//	    build: pip install -r req.txt   # build when the code has changed,
//	    cleanup: rm -rf /tmp/cache      # cleanup between stop and start; not after a crash
//	    env:
//	      STOCK_URL: http://stock:8080
//	      TOKEN: {secret: orders, key: token}     # or {configMap: NAME, key: KEY}
//	    ports: [8080, {name: admin, port: 9090, target: 9000, protocol: tcp}]
//	    restart: true                   # start again after each sync (false: the program reloads itself)
//	    reload:                         # what a change of certain paths does, see package internal/reload
//	      - {paths: requirements.txt, do: build}             # build, then start again
//	      - {paths: ["templates/**", "*.css"], do: nothing}  # or restart
//	      - {paths: "conf/*.yaml", do: signal, signal: HUP}  # to the first process of the service
//	      - {paths: "*.clj", do: reload}                     # run reloadScript beside the process $FMC_PID
//	    reloadScript: echo '(reload)' | nc localhost 5555
//	    handover: true                  # Stinger listens on the tcp ports and gives the process the sockets
//	                                    # (LISTEN_FDS, from 3 on): a restart refuses no connection
//	    appPath: /app                   # where the synced directory is in the container
//	    trace: true                     # put netra beside it
//	    replicas: 1
//	    readiness: {path: /healthz, port: 8080}   # or {port: N}, or {command: […]}; else: the code is there and the process runs
//	    resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 512Mi}}
//	    annotations: {formicarium.io/netra-logger-level: debug}
//	    patches:                        # RFC 6902, on Deployment, Service or ConfigMap, for everything else
//	      - {kind: Deployment, patch: {op: add, path: /spec/template/spec/hostname, value: orders}}
//
// A file with one service has the same keys at its top, beside name; its path
// is "." unless given.
//
// In string values ${VAR}, ${VAR:-default}, ${VAR-default} and ${VAR:?message}
// are replaced from the environment, and $$ is a single $. A variable that is
// unset and has no default is an error. Top-level keys that begin with x- are
// left alone, so that they may hold YAML anchors.
//
// Every fault of a file is reported, with its line, not only the first.
//
// Definitions of the original Formicarium (containers, interfaces, patches) are
// read too: see original.go.
package definition

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/reload"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
)

// Definition is what one file says.
type Definition struct {
	// Services are in the order of the file.
	Services []*Service
	// Warnings tell of what was read and has no effect.
	Warnings []string
}

// Service is one service, as its Deployment, Service and ConfigMap will be.
type Service struct {
	Name string
	// Path is the directory that is synced, absolute; empty where the image
	// runs as it is.
	Path string
	// Containers of the pod. The new format has exactly one, named like the
	// service.
	Containers []Container
	// Scripts by name: start, build, cleanup, reload.
	Scripts map[string]string
	Ports   []Port
	// Restart says whether a sync starts the process again.
	Restart bool
	// Reload says what a change of certain paths does instead.
	Reload []reload.Rule
	// Handover says whether Stinger listens for the process.
	Handover bool
	// AppPath is where the synced directory is in the container; empty means
	// the default.
	AppPath string
	// Trace says whether netra is put beside the service.
	Trace       bool
	Replicas    int32
	Annotations map[string]string
	Patches     []Patch
	// Chamber is the name of the chamber that was asked for; see NeedsChamber.
	Chamber string
	// Cache is nil where the cache lives as long as the pod.
	Cache *Cache
	// furnished is set when the chamber's part is in.
	furnished bool
	// Installation names what is injected; the pods are replaced when it
	// changes. It is not in the file.
	Installation string
}

// Container is one container of a service.
type Container struct {
	Name, Image   string
	Command, Args []string
	Env           []corev1.EnvVar
	// Sync says whether the service's directory is synced into it.
	Sync      bool
	Resources corev1.ResourceRequirements
	Readiness *Readiness
}

// Port is one port of the service.
type Port struct {
	Name string
	// Port is the Service's, Target the container's.
	Port, Target int32
	Protocol     corev1.Protocol
	// Container is the one that listens.
	Container string
}

// Readiness is how to find out whether a service can take requests.
type Readiness struct {
	Path    string
	Port    int32
	Command []string
}

// Patch is one RFC 6902 operation on one of the service's objects.
type Patch struct {
	Kind      string
	Operation []byte // JSON
}

// Options for reading.
type Options struct {
	// LookupEnv finds variables; nil means os.LookupEnv.
	LookupEnv func(string) (string, bool)
	// Name is the service's where the file describes one service without a
	// name.
	Name string
}

// Synced reports whether a directory is synced into the service.
func (s *Service) Synced() bool {
	for _, c := range s.Containers {
		if c.Sync {
			return true
		}
	}
	return false
}

// Find returns the service called name, or an error that tells which there are.
func (d *Definition) Find(name string) (*Service, error) {
	var names []string
	for _, s := range d.Services {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return nil, fmt.Errorf("no service %q in the definition: it has %s", name, list(names))
}

// Has reports whether there is a service called name.
func (d *Definition) Has(name string) bool {
	_, err := d.Find(name)
	return err == nil
}

// FileNames are those looked for where no file is named.
var FileNames = []string{"fmc.yaml", "fmc.yml", "fmc.json"}

// Locate returns the definition file in folder, or "".
func Locate(folder string) string {
	for _, name := range FileNames {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// maxFile bounds a definition file: 1 MiB is what a cluster would store of it
// at most, and a thousand times a usual one.
const maxFile = 1 << 20

// Read reads the file at path.
func Read(path string, o Options) (*Definition, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading definition: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("reading definition %s: %d bytes, at most %d are allowed", path, info.Size(), maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading definition: %w", err)
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("reading definition %s: %w", path, err)
	}
	return Parse(path, folder, text, o)
}

// Parse parses text, which came from file and whose paths are relative to
// folder.
func Parse(file, folder string, text []byte, o Options) (*Definition, error) {
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	d := &decoder{file: file, folder: folder, lookup: o.LookupEnv}
	root, err := document(text)
	if err != nil {
		return nil, fmt.Errorf("parsing definition %s: %w", file, err)
	}
	definition := d.definition(root, o.Name)
	if err := d.err(); err != nil {
		return nil, err
	}
	definition.Warnings = d.warnings
	return definition, nil
}

// document parses text to its one mapping.
func document(text []byte) (*yaml.Node, error) {
	if trimmed := bytes.TrimLeft(text, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		text = untab(text)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, err
	}
	if node.Kind == 0 {
		return nil, errors.New("it is empty")
	}
	return node.Content[0], nil
}

// untab replaces the tabs between JSON's tokens, which YAML does not take as
// white space everywhere.
func untab(text []byte) []byte {
	out := bytes.Clone(text)
	quoted := false
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == '\t' && !quoted:
			out[i] = ' '
		}
	}
	return out
}

// New returns a service that was described by flags alone. Without an image it
// needs a chamber.
func New(name, image, path string, command []string) (*Service, error) {
	if err := checkServiceName(name); err != nil {
		return nil, err
	}
	if image == "" && path == "" {
		return nil, errors.New("no image: give --image, or a definition file with -f")
	}
	return &Service{
		Scripts: map[string]string{},
		Name:    name, Path: path, Restart: true, Trace: true, Replicas: 1,
		Containers: []Container{{Name: name, Image: image, Command: command, Sync: path != ""}},
	}, nil
}

func checkServiceName(name string) error {
	if name == api.HubName {
		return fmt.Errorf("service name %q is the hub's: choose another", name)
	}
	return api.CheckName("service", name)
}

// SetPath makes the directory at path the one that is synced into the service.
func (s *Service) SetPath(path string) {
	s.Path = path
	if !s.Synced() {
		s.Containers[0].Sync = true
	}
}

// AddPort adds a port of the first container, unless the service has it.
func (s *Service) AddPort(port int) error {
	if port < 1 || port > 65535 {
		return errors.New("want a number from 1 to 65535")
	}
	if err := checkPort(int32(port)); err != nil {
		return err
	}
	for _, p := range s.Ports {
		if p.Port == int32(port) {
			return nil
		}
	}
	s.Ports = append(s.Ports, Port{
		Name: portName(int32(port)), Port: int32(port), Target: int32(port),
		Protocol: corev1.ProtocolTCP, Container: s.Containers[0].Name,
	})
	return nil
}
