package server

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// local serves with next who calls the hub by a name of this machine. Where nobody
// is asked who he is, the hub listens on loopback alone; but a web page can have
// its own name lead there, and then its scripts may send anything.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLocal(r.Host) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(api.Error{Error: "this hub asks nobody who they are and is for this machine: call it localhost or 127.0.0.1"})
	})
}

func isLocal(host string) bool {
	if host == "" {
		return true // no browser leaves it out
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
