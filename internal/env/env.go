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
	"slices"
	"strconv"
	"strings"
	"time"
)

// Reader reads variables and gathers their faults. Its methods return the
// default where a value is at fault; Err tells.
type Reader struct {
	getenv func(string) string
	faults []error
}

// NewReader returns a Reader over getenv, which is os.Getenv outside tests.
func NewReader(getenv func(string) string) *Reader {
	return &Reader{getenv: getenv}
}

// Err returns every fault found so far, joined, or nil.
func (r *Reader) Err() error { return errors.Join(r.faults...) }

// Fault adds a fault that the caller found in a variable's value.
func (r *Reader) Fault(name, value, allowed string) {
	r.faults = append(r.faults, fmt.Errorf("%s=%q: want %s", name, value, allowed))
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
