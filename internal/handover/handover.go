// Package handover names the sockets that Stinger listens on for a service, so
// that they stay open while the process is started again.
//
//	sockets, err := handover.Parse("8080,admin=9090")
package handover

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
)

// maxSockets is far beyond what a service listens on.
const maxSockets = 32

// Socket is one that is handed over.
type Socket struct {
	// Name is what LISTEN_FDNAMES has for it; the port's number where none was
	// given.
	Name string
	Port int
}

// Parse reads a list such as "8080,admin=9090"; the empty text has none. The
// error has every fault.
func Parse(text string) ([]Socket, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var sockets []Socket
	var faults []error
	taken := map[int]bool{}
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		name, number, named := strings.Cut(item, "=")
		if !named {
			name, number = item, item
		}
		port, err := strconv.Atoi(number)
		switch {
		case err != nil || port < 1 || port > 65535:
			faults = append(faults, fmt.Errorf("%.50q: want a port, or NAME=PORT", item))
			continue
		case !isName(name):
			faults = append(faults, fmt.Errorf("%.50q: a name has 1 to 255 printable characters of ASCII, and no colon", item))
			continue
		case taken[port]:
			faults = append(faults, fmt.Errorf("%.50q: the port is given twice", item))
			continue
		case port >= api.OwnPortFirst && port <= api.OwnPortLast:
			faults = append(faults, fmt.Errorf("%.50q: ports %d to %d are Formicarium's own", item, api.OwnPortFirst, api.OwnPortLast))
			continue
		}
		taken[port] = true
		sockets = append(sockets, Socket{name, port})
	}
	if len(sockets) > maxSockets {
		faults = append(faults, fmt.Errorf("%d ports: at most %d are allowed", len(sockets), maxSockets))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return sockets, nil
}

// isName holds to what systemd allows for a descriptor's name.
func isName(name string) bool {
	outside := func(c rune) bool { return c <= ' ' || c > '~' || c == ':' }
	return name != "" && len(name) <= 255 && !strings.ContainsFunc(name, outside)
}

// Text returns the sockets as Parse reads them.
func Text(sockets []Socket) string {
	items := make([]string, len(sockets))
	for i, s := range sockets {
		items[i] = s.Name + "=" + strconv.Itoa(s.Port)
	}
	return strings.Join(items, ",")
}

// Read reads the sockets from STINGER_LISTEN; each fault is one of the
// reader's.
func Read(r *env.Reader) []Socket {
	text := r.String(api.EnvStingerListen, "")
	sockets, err := Parse(text)
	if err != nil {
		for fault := range strings.SplitSeq(err.Error(), "\n") {
			r.Fault(api.EnvStingerListen, fmt.Sprintf("%.100s", text), "ports such as 8080,admin=9090, without this: "+fault)
		}
	}
	return sockets
}
