package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/formicarium/formicarium/kubectl-fmc/chamber"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace/definition"
)

// presets lists the names of the languages for a help text.
func presets() string {
	var names []string
	for _, name := range chamber.Names() {
		if !strings.Contains(name, "-") {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// furnish gives the services their presets; a chamber of the devspace's own has
// to wait until there is a cluster to ask.
func (o *deployOptions) furnish(services []*definition.Service) error {
	var faults []error
	for _, s := range services {
		if !s.NeedsChamber() || isOwnChamber(s.Chamber) {
			continue
		}
		choice, err := choose(s)
		if err != nil {
			faults = append(faults, fmt.Errorf("service %s: %w", s.Name, err))
			continue
		}
		reason := "as asked for"
		if len(choice.Found) > 0 {
			reason = "it has " + strings.Join(choice.Found, ", ")
		}
		o.furnishWith(s, choice.Chamber(o.getenv), reason)
	}
	return errors.Join(faults...)
}

func choose(s *definition.Service) (chamber.Choice, error) {
	dir := os.DirFS(s.Path)
	if cmp.Or(s.Chamber, definition.ChamberAuto) == definition.ChamberAuto {
		return chamber.Detect(dir)
	}
	return chamber.Named(s.Chamber, dir)
}

// isOwnChamber reports a name that is neither a preset's nor asks for one.
func isOwnChamber(name string) bool {
	return name != "" && name != definition.ChamberAuto && !chamber.IsPreset(name)
}

// furnishOwn gives the services that ask for them the devspace's own chambers.
func (o *deployOptions) furnishOwn(ctx context.Context, client *devspace.Client, space string, services []*definition.Service) error {
	for _, s := range services {
		if !s.NeedsChamber() || !isOwnChamber(s.Chamber) {
			continue
		}
		c, err := client.Chamber(ctx, space, s.Chamber)
		if err != nil {
			return fmt.Errorf("service %s: %w", s.Name, err)
		}
		o.furnishWith(s, c, "of this devspace")
	}
	return nil
}

func (o *deployOptions) furnishWith(s *definition.Service, c chamber.Chamber, reason string) {
	s.Furnish(c)
	fmt.Fprintf(o.ErrOut, "%s: chamber %s (%s), image %s\n", s.Name, c.Name, reason, s.Containers[0].Image)
}
