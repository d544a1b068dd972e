package redirect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/formicarium/formicarium/internal/api"
)

// Apply makes p the redirection of the calling thread's network namespace:
// whatever an earlier Apply left, by either backend, is replaced. It needs
// NET_ADMIN, and iptables of the kind legacy NET_RAW.
//
// The other backend's rules go first, as soon as the kernel has taken the new
// ones in a place that no packet comes to. In between new connections are left
// alone, and open ones go on: the two never stand side by side, where a
// connection could be drawn twice, and where netra's own could come back to it
// if the old rules exempt another user.
func Apply(ctx context.Context, p Plan, b Backend) (Applied, error) {
	if b == IPTables {
		applied, err := applyIPTables(ctx, p)
		if errors.Is(err, errNoPrograms) {
			err = fmt.Errorf("%w: use an image that has iptables, %s", err, wayOut)
		}
		return applied, err
	}
	applied, err := applyNFTables(ctx, p)
	var missing *missingError
	if !errors.As(err, &missing) {
		return applied, err
	}
	if b == NFTables {
		return Applied{}, fmt.Errorf("%w\n%s, %s", err, load, wayOut)
	}
	applied, otherErr := applyIPTables(ctx, p)
	if otherErr != nil {
		return Applied{}, fmt.Errorf("neither backend works on this node:\nnftables: %w\niptables: %w\n%s, %s", err, otherErr, load, wayOut)
	}
	return applied, nil
}

// What to do where a backend lacks what it takes.
const (
	load   = "load nf_tables, nft_chain_nat, nft_redir and nft_numgen on the node, or use iptables"
	wayOut = "which comes with the pod's annotation " + api.Domain + "/netra-redirect-backend: iptables, " +
		"or for all pods with kubectl fmc install --redirect-backend iptables; outside of Kubernetes put iptables 1.8 or later into PATH"
)

var errNoPrograms = errors.New("looking for iptables-restore, iptables-save, ip6tables-restore and ip6tables-save: they are not all in PATH")

func applyNFTables(ctx context.Context, p Plan) (Applied, error) {
	others, err := iptablesHoldings(ctx)
	if err != nil {
		return Applied{}, err
	}
	if len(others) > 0 {
		if err := holdTable(p); err != nil {
			return Applied{}, err
		}
		if err := removeHoldings(ctx, others); err != nil {
			return Applied{}, errors.Join(err, deleteTable())
		}
	}
	if err := replaceTable(p); err != nil {
		return Applied{}, err
	}
	return Applied{By: string(NFTables)}, nil
}

// applyIPTables uses the first variant that works.
func applyIPTables(ctx context.Context, p Plan) (Applied, error) {
	variants := findVariants(ctx)
	if len(variants) == 0 {
		return Applied{}, errNoPrograms
	}
	var faults []error
	for _, v := range variants {
		applied, err := applyVariant(ctx, p, v)
		if err == nil {
			return applied, nil
		}
		faults = append(faults, fmt.Errorf("applying the redirection by %s: %w", v, err))
	}
	return Applied{}, errors.Join(faults...)
}

func applyVariant(ctx context.Context, p Plan, v variant) (Applied, error) {
	others, err := iptablesHoldings(ctx)
	if err != nil {
		return Applied{}, err
	}
	others = slices.DeleteFunc(others, func(h iptablesHolding) bool { return h.kind == v.kind })
	table, err := installedTable()
	var missing *missingError
	if err != nil && !errors.As(err, &missing) {
		return Applied{}, err
	}
	var removeOthers func() error
	if table != nil || len(others) > 0 {
		removeOthers = func() error {
			if err := deleteTable(); err != nil {
				return err
			}
			return removeHoldings(ctx, others)
		}
	}
	notes, err := v.apply(ctx, p, removeOthers)
	return Applied{By: v.String(), Notes: notes}, err
}

func removeHoldings(ctx context.Context, holdings []iptablesHolding) error {
	for _, h := range holdings {
		if err := h.remove(ctx); err != nil {
			return fmt.Errorf("removing the rules of %s: %w", h, err)
		}
	}
	return nil
}

// Cleanup removes what Apply made, by either backend. Where there is nothing,
// it does nothing.
func Cleanup(ctx context.Context) error {
	faults := []error{deleteTable()}
	for _, v := range findVariants(ctx) {
		if err := v.remove(ctx); err != nil {
			faults = append(faults, fmt.Errorf("removing the rules of %s: %w", v, err))
		}
	}
	return errors.Join(faults...)
}
