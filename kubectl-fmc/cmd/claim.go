package cmd

import (
	"context"
	"errors"
	"slices"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/spf13/pflag"
)

func addTakeOver(f *pflag.FlagSet, takeOver *bool) {
	f.BoolVar(takeOver, "take-over", false, "End another's sync of the service and go on in its place")
}

// claim gets the leases of all directories, or says all that is in the way; what
// was claimed goes back as the directories are closed.
func claim(ctx context.Context, directories map[string]*devspace.Directory, c devspace.Claim) error {
	var names []string
	for name := range directories {
		names = append(names, name)
	}
	slices.Sort(names)
	var faults []error
	for _, name := range names {
		if err := directories[name].Claim(ctx, c); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}
