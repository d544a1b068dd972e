package redirect

import (
	"context"
	"errors"
	"fmt"
)

// Apply makes p the redirection of the calling thread's network namespace:
// whatever an earlier Apply left, by either backend, is replaced. It needs
// NET_ADMIN, and iptables of the kind legacy NET_RAW.
//
// The other backend's rules go first. Until the new ones are in place new
// connections are left alone: the two never stand side by side, where a
// connection could be drawn twice, and where netra's own could come back to it
// if the old rules exempt another user.
func Apply(ctx context.Context, p Plan, b Backend) (Applied, error) {
	switch b {
	case NFTables:
		return applyNFTables(ctx, p)
	case IPTables:
		return applyIPTables(ctx, p)
	}
	applied, err := applyNFTables(ctx, p)
	var missing *missingError
	if !errors.As(err, &missing) {
		return applied, err
	}
	applied, otherErr := applyIPTables(ctx, p)
	if otherErr != nil {
		return Applied{}, fmt.Errorf("neither backend works on this node:\n"+
			"nftables: %w\niptables: %w\n"+
			"load nf_tables, nft_chain_nat, nft_redir and nft_numgen on the node, or use an image of netra-init that has iptables 1.8 or later", err, otherErr)
	}
	return applied, nil
}

func applyNFTables(ctx context.Context, p Plan) (Applied, error) {
	others, err := iptablesHoldings(ctx)
	if err != nil {
		return Applied{}, err
	}
	if len(others) > 0 {
		// Rules that work are not taken out for some that cannot.
		if err := nftablesMissing(); err != nil {
			return Applied{}, err
		}
	}
	for _, other := range others {
		if err := other.remove(ctx); err != nil {
			return Applied{}, fmt.Errorf("removing the rules of %s: %w", other, err)
		}
	}
	if err := replaceTable(p); err != nil {
		return Applied{}, err
	}
	return Applied{By: string(NFTables)}, nil
}

// applyIPTables uses the first variant that works.
func applyIPTables(ctx context.Context, p Plan) (Applied, error) {
	variants, err := findVariants(ctx)
	if err != nil {
		return Applied{}, err
	}
	if len(variants) == 0 {
		return Applied{}, errors.New("looking for iptables-restore, iptables-save, ip6tables-restore and ip6tables-save: they are not in PATH: use an image of netra-init that has iptables 1.8 or later")
	}
	var faults []error
	for _, v := range variants {
		notes, err := v.apply(ctx, p, func() error { return removeBut(ctx, v, variants) })
		if err == nil {
			return Applied{By: v.String(), Notes: notes}, nil
		}
		faults = append(faults, fmt.Errorf("applying the redirection by %s: %w", v, err))
	}
	return Applied{}, errors.Join(faults...)
}

// removeBut removes all rules of netra's but those of v.
func removeBut(ctx context.Context, v variant, variants []variant) error {
	if err := deleteTable(); err != nil {
		return err
	}
	for _, other := range variants {
		if other.kind == v.kind {
			continue
		}
		if err := other.remove(ctx); err != nil {
			return fmt.Errorf("removing the rules of %s: %w", other, err)
		}
	}
	return nil
}

// Cleanup removes what Apply made, by either backend. Where there is nothing,
// it does nothing.
func Cleanup(ctx context.Context) error {
	variants, err := findVariants(ctx)
	faults := []error{deleteTable(), err}
	for _, v := range variants {
		if err := v.remove(ctx); err != nil {
			faults = append(faults, fmt.Errorf("removing the rules of %s: %w", v, err))
		}
	}
	return errors.Join(faults...)
}
