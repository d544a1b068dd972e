package cmd

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/spf13/cobra"
)

type statusOptions struct {
	*app
	name, output string
}

func newCmdStatus(a *app) *cobra.Command {
	o := &statusOptions{app: a}
	c := &cobra.Command{
		Use:               "status [NAME]",
		Short:             "Show what runs in the devspace, and whether it is in sync",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkOutput(o.output, "table", "json", "yaml"); err != nil {
				return err
			}
			if len(args) > 0 {
				o.name = args[0]
			}
			return o.run(c)
		},
	}
	addOutput(c, &o.output, "table", "json", "yaml")
	return c
}

func (o *statusOptions) run(c *cobra.Command) error {
	client, space, err := o.open(c.Context())
	if err != nil {
		return err
	}
	status, err := client.Status(c.Context(), space, o.name)
	if err != nil {
		return err
	}
	switch o.output {
	case "json":
		return writeJSON(o.Out, status)
	case "yaml":
		return writeYAML(o.Out, status)
	}
	if status.HubError != "" {
		fmt.Fprintln(o.ErrOut, "warning: "+status.HubError)
	}
	if len(status.Services) == 0 {
		fmt.Fprintf(o.ErrOut, "devspace %s has no service: deploy one with kubectl fmc deploy NAME PATH\n", space)
		return nil
	}
	head := []string{"SERVICE", "READY", "STATE", "COMMIT", "SYNC", "RESTARTS", "NETRA", "AGE", "POD"}
	if err := writeTable(o.Out, head, statusRows(status, time.Now())); err != nil {
		return err
	}
	for _, line := range statusNotes(status) {
		fmt.Fprintln(o.Out, line)
	}
	return nil
}

// statusRows has a row for each supervised container, and one for each pod
// without any.
func statusRows(status devspace.Status, now time.Time) [][]string {
	var rows [][]string
	for _, s := range status.Services {
		ready := fmt.Sprintf("%d/%d", s.Ready, s.Want)
		if len(s.Pods) == 0 {
			rows = append(rows, []string{s.Name, ready, "no pod", "-", "-", "-", "-", "-", "-"})
		}
		for _, p := range s.Pods {
			netra := "off"
			if p.Netra {
				netra = "on"
			}
			last := []string{netra, age(p.Created, now), p.Name}
			if len(p.Containers) == 0 {
				rows = append(rows, append([]string{s.Name, ready, podState(p), "image", "-", strconv.Itoa(int(p.Restarts))}, last...))
			}
			for _, c := range p.Containers {
				rows = append(rows, append([]string{s.Name, ready, containerState(p, c), dash(short(c.Commit)), syncText(s, c), strconv.Itoa(int(p.Restarts) + c.Crashes)}, last...))
			}
		}
	}
	return rows
}

func podState(p devspace.PodStatus) string {
	if p.Phase == "Running" && !p.Ready {
		return "not ready"
	}
	return strings.ToLower(p.Phase)
}

func containerState(p devspace.PodStatus, c devspace.ContainerStatus) string {
	switch {
	case c.Error != "":
		return "unknown"
	case c.State == "":
		return podState(p)
	}
	return string(c.State)
}

func syncText(s devspace.ServiceStatus, c devspace.ContainerStatus) string {
	switch {
	case s.Head == "":
		return "unknown"
	case c.InSync:
		return "in sync"
	case c.Commit == s.Head:
		return "does not run" // the notes and the state tell why
	}
	return "behind " + short(s.Head)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func short(commit string) string { return commit[:min(len(commit), 7)] }

// statusNotes tells what a table has no room for.
func statusNotes(status devspace.Status) []string {
	var notes []string
	for _, s := range status.Services {
		if by := s.SyncedBy; by != nil && by.Live {
			notes = append(notes, fmt.Sprintf("%s: synced by %s since %s", s.Name, by.Holder, by.Since.Local().Format("2006-01-02 15:04:05")))
		} else if by != nil {
			notes = append(notes, fmt.Sprintf("%s: was synced by %s, not heard of since %s", s.Name, by.Holder, by.Renewed.Local().Format("2006-01-02 15:04:05")))
		}
		for _, p := range s.Pods {
			for _, problem := range p.Problems {
				notes = append(notes, fmt.Sprintf("%s: %s", p.Name, problem))
			}
			for part, reason := range p.Skipped {
				notes = append(notes, fmt.Sprintf("%s: no %s: %s", p.Name, part, reason))
			}
			for _, c := range p.Containers {
				if c.Error != "" {
					notes = append(notes, c.Error)
				}
				if c.LastError != "" {
					notes = append(notes, fmt.Sprintf("%s/%s: %s", p.Name, c.Name, c.LastError))
				}
			}
		}
	}
	return notes
}

// completeServices completes the names of services.
func (a *app) completeServices(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	// Nobody waits longer for a completion.
	ctx, cancel := limited(c.Context(), time.Second)
	defer cancel()
	client, space, err := a.open(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := client.ServiceNames(ctx, space)
	return names, cobra.ShellCompDirectiveNoFileComp
}
