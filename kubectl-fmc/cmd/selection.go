package cmd

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace/definition"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
)

// selection are the flags that say which services are meant and what they are.
type selection struct {
	file, image, command string
	chamber              string
	ports                []string
	env                  []string
}

func (s *selection) addFlags(f *pflag.FlagSet) {
	f.StringVarP(&s.file, "filename", "f", "", "Definition file")
	f.StringVar(&s.image, "image", "", "Image of the service, in place of the definition's")
	f.StringVar(&s.chamber, "chamber", "", "Chamber of the service, in place of the definition's: a preset, auto, or one of the devspace's (see above)")
	f.StringVar(&s.command, "command", "", "Command of the service, in place of the definition's; words are separated by spaces")
	f.StringSliceVar(&s.ports, "port", nil, "Port of the service, beside the definition's (repeatable)")
	f.StringArrayVar(&s.env, "env", nil, "NAME=VALUE for the service, in place of the definition's (repeatable)")
}

// services returns the services that name, path and the flags select, ready to
// be deployed. Warnings go to out.
func (s *selection) services(name, path string, out io.Writer) ([]*definition.Service, error) {
	if path != "" {
		var err error
		if path, err = absolute(path); err != nil {
			return nil, err
		}
	}
	d, err := s.definition(name, path)
	if err != nil {
		return nil, err
	}
	services := d.Services
	if name != "" {
		service, err := d.Find(name)
		if err != nil {
			return nil, err
		}
		if path != "" {
			service.SetPath(path)
		}
		services = []*definition.Service{service}
	}
	if err := s.override(services); err != nil {
		return nil, err
	}
	var faults []error
	for _, service := range services {
		if service.Synced() {
			if err := isDirectory(service.Path); err != nil {
				faults = append(faults, fmt.Errorf("service %s: %w", service.Name, err))
			}
		}
	}
	for _, warning := range d.Warnings {
		fmt.Fprintln(out, "warning: "+warning)
	}
	return services, errors.Join(faults...)
}

// definition reads the file that is named or found, or makes one of the flags.
func (s *selection) definition(name, path string) (*definition.Definition, error) {
	file := s.file
	for _, folder := range []string{path, "."} {
		if file == "" && folder != "" {
			file = definition.Locate(folder)
		}
	}
	switch {
	case file != "":
		d, err := definition.Read(file, definition.Options{Name: name})
		// A file that merely lies there is no obstacle to a service that the
		// flags describe.
		described := s.image != "" || s.chamber != ""
		if s.file != "" || !described || name == "" || err == nil && d.Has(name) {
			return d, err
		}
	case s.image == "" && (name == "" || path == ""):
		return nil, errors.New("no definition: give a file with -f, write one (fmc.yaml), or give NAME and PATH, whose files say what it needs")
	case name == "":
		return nil, errors.New("no service name: give NAME, or a definition file with -f")
	}
	service, err := definition.New(name, s.image, path, nil)
	if err != nil {
		return nil, err
	}
	return &definition.Definition{Services: []*definition.Service{service}}, nil
}

// override puts the flags' values in the place of the definition's.
func (s *selection) override(services []*definition.Service) error {
	if s.image == "" && s.chamber == "" && s.command == "" && len(s.ports) == 0 && len(s.env) == 0 {
		return nil
	}
	if len(services) != 1 {
		return errors.New("--image, --chamber, --command, --port and --env are for one service: give NAME")
	}
	service := services[0]
	container := &service.Containers[0]
	if s.image != "" {
		if container.Image == "" && service.Synced() && service.Chamber == "" {
			service.Chamber = definition.ChamberAuto // it would have been its
		}
		container.Image = s.image
	}
	if s.chamber != "" {
		if err := definition.CheckChamber(s.chamber); err != nil {
			return fmt.Errorf("--chamber=%q: %w", s.chamber, err)
		}
		if !service.Synced() {
			return errors.New("--chamber: the service has no path: give PATH, whose files its scripts run")
		}
		service.Chamber = s.chamber
	}
	if s.command != "" {
		command, err := words(s.command)
		if err != nil {
			return err
		}
		container.Command = command
		delete(service.Scripts, "start")
	}
	for _, text := range s.ports {
		port, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("--port=%q: want a number", text)
		}
		if err := service.AddPort(port); err != nil {
			return fmt.Errorf("--port=%q: %w", text, err)
		}
	}
	for _, text := range s.env {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return fmt.Errorf("--env=%q: want NAME=VALUE", text)
		}
		container.Env = slices.DeleteFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == name })
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: value})
	}
	return nil
}
