package command

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func (h *harness) restart(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("restart what? give one daemon, such as kube-apiserver")
	}
	if h.kubeconfig != "" {
		return errors.New("FMC_E2E_KUBECONFIG names a cluster that is not ours to restart")
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	began := time.Now()
	if err := h.layout().Restart(ctx, args[0]); err != nil {
		return err
	}
	fmt.Fprintf(h.stderr, "%s runs again after %s\n", args[0], time.Since(began).Round(10*time.Millisecond))
	return nil
}
