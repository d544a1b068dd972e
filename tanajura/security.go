package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"

	"k8s.io/client-go/kubernetes"

	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/tanajura/authority"
	"github.com/formicarium/formicarium/tanajura/guard"
	"github.com/formicarium/formicarium/tanajura/tell"
)

// security is how a hub knows others, and others know it. Both are nil where nobody
// is asked who he is.
type security struct {
	keeper *authority.Keeper
	guard  *guard.Guard
}

func newSecurity(cfg config, client kubernetes.Interface, log *slog.Logger) (security, error) {
	if cfg.auth == authNone {
		return security{}, nil
	}
	keeper, err := authority.Open(cfg.authority, cfg.namespace, log)
	if err != nil {
		return security{}, err
	}
	reviews := guard.NewReviews(client, cfg.namespace)
	return security{keeper, guard.New(guard.Options{Devspace: cfg.namespace, Authenticator: reviews, Authorizer: reviews, Log: log})}, nil
}

func (s security) run(ctx context.Context) {
	if s.guard != nil {
		s.guard.Run(ctx)
	}
}

func (s security) teller(find tell.Find) *tell.Stingers {
	if s.keeper == nil {
		return tell.New(find)
	}
	return tell.NewMutual(find, s.keeper)
}

func (s security) secured(listener net.Listener) net.Listener {
	if s.keeper == nil {
		return listener
	}
	return tls.NewListener(listener, identity.ServerConfig(s.keeper.Certificate, s.keeper.Roots))
}
