package api

import "fmt"

// MaxNameLength is the longest name of a service or devspace: that of a DNS
// label (RFC 1123), since both become host names.
const MaxNameLength = 63

// CheckName reports why name cannot name a service, devspace or repository. A
// name is a DNS label: 1 to 63 of a-z, 0-9 and '-', starting with a letter and
// ending in a letter or digit. The kind ("service", …) opens the message.
func CheckName(kind, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s name is empty: give 1 to %d of a-z, 0-9 and '-', starting with a letter", kind, MaxNameLength)
	case len(name) > MaxNameLength:
		return fmt.Errorf("%s name %q has %d characters: at most %d are allowed", kind, name[:16]+"…", len(name), MaxNameLength)
	}
	for i, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z'
		inner := '0' <= c && c <= '9' || c == '-'
		if !letter && (i == 0 || !inner) {
			return fmt.Errorf("%s name %q has %q at position %d: use a-z, 0-9 and '-', starting with a letter", kind, name, string(rune(c)), i+1)
		}
	}
	if name[len(name)-1] == '-' {
		return fmt.Errorf("%s name %q ends in '-': end it in a letter or digit", kind, name)
	}
	return nil
}
