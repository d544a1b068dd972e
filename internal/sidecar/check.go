package sidecar

import (
	"strings"

	"github.com/formicarium/formicarium/internal/env"
)

// Check returns what netra and netra-init would refuse of the environment, and
// what they would not look at but that is wrong all the same: the settings of
// the exporter that is not chosen, and those for all signals where there are
// others for traces alone. A fault may be there twice.
func Check(getenv func(string) string) []*env.Fault {
	r := env.NewReader(getenv)
	ReadRedirect(r)
	readNetra(r)
	readOTLP(r)
	samplerArgument(r)
	checkJaeger(r)
	signals := env.NewReader(func(name string) string {
		if strings.HasPrefix(name, tracesPrefix) {
			return ""
		}
		return getenv(name)
	})
	readOTLP(signals)
	return append(r.Faults(), signals.Faults()...)
}
