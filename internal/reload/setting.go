package reload

import (
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
)

// Read reads the rules from STINGER_RELOAD; each fault is one of the reader's.
func Read(r *env.Reader) Rules {
	text := r.String(api.EnvStingerReload, "")
	rules, err := Parse(text)
	if err == nil {
		return rules
	}
	shown := text
	if len(shown) > 100 {
		shown = strings.ToValidUTF8(shown[:100], "") + "…"
	}
	for fault := range strings.SplitSeq(err.Error(), "\n") {
		r.Fault(api.EnvStingerReload, shown, "reload rules without this: "+fault)
	}
	return Rules{}
}
