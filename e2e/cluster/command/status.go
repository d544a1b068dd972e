package command

import (
	"context"
	"fmt"
	"text/tabwriter"
)

func (h *harness) status(ctx context.Context, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	if h.kubeconfig != "" {
		fmt.Fprintf(h.stdout, "using the cluster of FMC_E2E_KUBECONFIG: %s\n", h.kubeconfig)
		return nil
	}
	l := h.layout()
	w := tabwriter.NewWriter(h.stdout, 0, 0, 2, ' ', 0)
	for _, d := range l.Daemons() {
		state := "stopped"
		if d.PID != 0 {
			state = fmt.Sprintf("pid %d", d.PID)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.Name, state, d.Address, d.Log)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	health := "healthy"
	if err := l.Healthy(ctx); err != nil {
		health = "not healthy: " + err.Error()
	}
	fmt.Fprintf(h.stdout, "state folder: %s\ncache folder: %s\nkubeconfig:   %s\ncluster:      %s\n",
		h.stateDir, h.cacheDir, l.Kubeconfig(), health)
	return nil
}
