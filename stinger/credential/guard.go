package credential

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
)

// Guard lets the probes of anybody, and all requests of the hub and of
// developers, through to next.
func (k *Keeper) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, err := k.admit(r)
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		// Nobody who is unknown keeps a connection, nor has its body read.
		w.Header().Set("Connection", "close")
		if isProbe(r) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(api.Error{Error: err.Error()}) // else the client has gone
	})
}

func isProbe(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.URL.Path == "/health" || r.URL.Path == "/ready")
}

// admit reports whether who asks may give orders, or with what status and why
// not.
func (k *Keeper) admit(r *http.Request) (status int, err error) {
	who, known := identity.Peer(r.TLS)
	if !known {
		if _, err := k.trust.authorities(); err != nil {
			return http.StatusForbidden, fmt.Errorf("this Stinger knows nobody who may give it orders: %w", err)
		}
		return http.StatusUnauthorized, fmt.Errorf("this needs a client certificate of the devspace: ask through kubectl fmc, which gets one, or get one from the hub with POST %s", api.PathCertificates)
	}
	leaf, chain := r.TLS.PeerCertificates[0], r.TLS.VerifiedChains[0]
	root := chain[len(chain)-1]
	switch now := k.opts.Now(); {
	case now.After(leaf.NotAfter):
		return http.StatusUnauthorized, fmt.Errorf("the certificate of %s ended at %s: connect again with a new one", who, leaf.NotAfter.UTC().Format(time.RFC3339))
	case !k.trust.has(root):
		return http.StatusUnauthorized, fmt.Errorf("the devspace has another authority than that of the certificate of %s: connect again with a new one", who)
	case who.Devspace != root.Subject.CommonName:
		return http.StatusForbidden, fmt.Errorf("%s is not of devspace %s", who, root.Subject.CommonName)
	case who.Kind != identity.Hub && who.Kind != identity.Developer:
		return http.StatusForbidden, fmt.Errorf("%s may not give orders: only the hub and developers may", who)
	}
	return 0, nil
}
