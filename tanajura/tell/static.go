package tell

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// Static is a fixed list of Stingers, by service.
type Static map[string][]Target

// ParseStatic reads items of the form "orders=http://127.0.0.1:24000". A
// service may have several.
func ParseStatic(items []string) (Static, error) {
	list := Static{}
	for _, item := range items {
		service, base, ok := strings.Cut(item, "=")
		if !ok {
			return nil, fmt.Errorf("stinger %q: want SERVICE=URL", item)
		}
		if err := api.CheckName("service", service); err != nil {
			return nil, err
		}
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("stinger %q: want a URL such as http://127.0.0.1:%d", item, api.StingerPort)
		}
		list[service] = append(list[service], Target{Pod: u.Host, Container: service, URL: strings.TrimSuffix(base, "/")})
	}
	return list, nil
}

// Targets is a Find.
func (s Static) Targets(service string) []Target { return slices.Clone(s[service]) }
