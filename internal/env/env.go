// Package env reads a program's settings from the environment and reports all
// faults at once.
//
//	r := env.NewReader(getenv)
//	cfg := config{
//		Port:  r.Int("STINGER_PORT", 24000, 1, 65535),
//		Start: r.Bool("START_AFTER_PULL", false),
//	}
//	if err := r.Err(); err != nil { … }
//
// A variable that is unset or empty has its default. A value that does not
// parse is an error that names the variable, the value and what is allowed; it
// is never replaced by the default.
package env

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Reader reads variables and gathers their faults. Its methods return the
// default where a value is at fault; Err tells.
type Reader struct {
	getenv func(string) string
	faults []*Fault
}

// Fault is a variable whose value is not allowed.
type Fault struct {
	// Value is as much of the value as may be shown.
	Name, Value, Allowed string
	// Others are the variables that the value does not go together with. Where
	// the variable is not set, and its default is at fault, it is one of these
	// that somebody has to change.
	Others []string
}

func (f *Fault) Error() string { return fmt.Sprintf("%s=%q: want %s", f.Name, f.Value, f.Allowed) }

// secret stands in faults for values that must not be logged.
const secret = "(not shown)"

// NewReader returns a Reader over getenv, which is os.Getenv outside tests.
func NewReader(getenv func(string) string) *Reader {
	return &Reader{getenv: getenv}
}

// Err returns every fault found so far, joined, or nil.
func (r *Reader) Err() error {
	var faults []error
	for _, f := range r.faults {
		faults = append(faults, f)
	}
	return errors.Join(faults...)
}

// Faults returns every fault found so far, in the order of finding.
func (r *Reader) Faults() []*Fault { return r.faults }

// Fault adds a fault that the caller found in a variable's value, alone or
// together with those of others.
func (r *Reader) Fault(name, value, allowed string, others ...string) {
	r.faults = append(r.faults, &Fault{name, value, allowed, others})
}

// FaultOfSecret is Fault for a value that must not be shown.
func (r *Reader) FaultOfSecret(name, allowed string, others ...string) {
	r.Fault(name, secret, allowed, others...)
}

// String returns the variable as it is.
func (r *Reader) String(name, def string) string {
	if v := r.getenv(name); v != "" {
		return v
	}
	return def
}

// OneOf returns the variable, which must be one of allowed.
func (r *Reader) OneOf(name, def string, allowed ...string) string {
	v := r.String(name, def)
	if !slices.Contains(allowed, v) {
		r.Fault(name, v, "one of "+strings.Join(allowed, ", "))
		return def
	}
	return v
}

// HTTPURL returns the variable, which must be an absolute HTTP URL; nil where
// there is none, or a fault.
func (r *Reader) HTTPURL(name, def string) *url.URL {
	v := r.String(name, def)
	if v == "" {
		return nil
	}
	u, err := url.Parse(v)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" {
		return u
	}
	if strings.Contains(v, "@") && !strings.HasPrefix(v, "git@") { // what is before it may be a password
		v = secret
	}
	r.Fault(name, v, "a URL that begins with http:// or https://")
	return nil
}

// Directory returns the variable, which must be an absolute path and not the
// root.
func (r *Reader) Directory(name, def string) string {
	v := r.String(name, def)
	if !path.IsAbs(v) || path.Clean(v) == "/" {
		r.Fault(name, v, "an absolute path other than /")
	}
	return v
}

// Bool returns the variable, which must be "true" or "false".
func (r *Reader) Bool(name string, def bool) bool {
	switch v := r.getenv(name); v {
	case "":
		return def
	case "true":
		return true
	case "false":
		return false
	default:
		r.Fault(name, v, "true or false")
		return def
	}
}

// Int returns the variable, which must be a decimal number from low to high.
func (r *Reader) Int(name string, def, low, high int) int {
	v := r.getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		r.Fault(name, v, fmt.Sprintf("a whole number from %d to %d", low, high))
		return def
	}
	return n
}

// Float returns the variable, which must be a decimal number from low to high.
func (r *Reader) Float(name string, def, low, high float64) float64 {
	v := r.getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || !(n >= low && n <= high) { // the form that NaN fails, too
		r.Fault(name, v, fmt.Sprintf("a number from %g to %g", low, high))
		return def
	}
	return n
}

// Duration returns the variable, which must be a Go duration ("300ms", "10s")
// that is not negative.
func (r *Reader) Duration(name string, def time.Duration) time.Duration {
	v := r.getenv(name)
	if v == "" {
		return def
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		r.Fault(name, v, `a duration such as "300ms" or "10s"`)
		return def
	}
	return d
}

// Limit returns the variable, a duration longer than none.
func (r *Reader) Limit(name string, def time.Duration) time.Duration {
	v := r.getenv(name)
	if v == "" {
		return def
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		r.Fault(name, v, `a duration longer than 0, such as "90s" or "1h30m"`)
		return def
	}
	return d
}

// Millis returns the variable, a whole number of milliseconds.
func (r *Reader) Millis(name string, def time.Duration) time.Duration {
	const dayMillis = 24 * 60 * 60 * 1000
	return time.Duration(r.Int(name, int(def.Milliseconds()), 0, dayMillis)) * time.Millisecond
}

// List returns the variable's comma-separated items, trimmed, without empty
// ones.
func (r *Reader) List(name string) []string {
	var items []string
	for item := range strings.SplitSeq(r.getenv(name), ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// Ports returns the variable's comma-separated ports. The value "*" alone
// means all ports, and only then all is true.
func (r *Reader) Ports(name, def string) (ports []uint16, all bool) {
	v := r.String(name, def)
	if v == "*" {
		return nil, true
	}
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		n, err := strconv.ParseUint(item, 10, 16)
		if err != nil || n == 0 {
			r.Fault(name, v, "ports from 1 to 65535 separated by commas, or *")
			return nil, false
		}
		ports = append(ports, uint16(n))
	}
	return ports, false
}

// Prefixes returns the variable's comma-separated CIDRs; a bare address means
// that address alone.
func (r *Reader) Prefixes(name string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, item := range r.List(name) {
		p, err := netip.ParsePrefix(item)
		if err != nil {
			addr, addrErr := netip.ParseAddr(item)
			if addrErr != nil {
				r.Fault(name, item, "a CIDR such as 10.0.0.0/8 or fd00::/8, or an address")
				continue
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes
}
