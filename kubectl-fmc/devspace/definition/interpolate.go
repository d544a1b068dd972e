package definition

import (
	"errors"
	"fmt"
	"strings"
)

// interpolate replaces ${VAR}, ${VAR:-default}, ${VAR-default} and
// ${VAR:?message}; $$ is a single $, and any other $ stays. Defaults may hold
// variables.
func interpolate(s string, lookup func(string) (string, bool)) (string, error) {
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			out.WriteString(s)
			return out.String(), nil
		}
		out.WriteString(s[:i])
		switch s[i+1] {
		case '$':
			out.WriteByte('$')
			s = s[i+2:]
		case '{':
			end := closing(s[i+2:])
			if end < 0 {
				return "", fmt.Errorf("%q has ${ without }: write $${ for the characters themselves", s[i:])
			}
			value, err := expand(s[i+2:i+2+end], lookup)
			if err != nil {
				return "", err
			}
			out.WriteString(value)
			s = s[i+2+end+1:]
		default:
			out.WriteByte('$')
			s = s[i+1:]
		}
	}
}

// closing returns the place of the } that ends what s begins in.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch {
		case s[i] == '{' && i > 0 && s[i-1] == '$':
			depth++
		case s[i] == '}' && depth > 0:
			depth--
		case s[i] == '}':
			return i
		}
	}
	return -1
}

// expand returns the value of what stands between ${ and }.
func expand(expression string, lookup func(string) (string, bool)) (string, error) {
	n := 0
	for n < len(expression) && nameByte(expression[n], n == 0) {
		n++
	}
	name, rest := expression[:n], expression[n:]
	if name == "" {
		return "", fmt.Errorf("${%s} names no variable: write $${ for the characters themselves", expression)
	}
	value, set := lookup(name)
	switch {
	case rest == "":
		if !set {
			return "", fmt.Errorf("variable %s is not set: set it, write ${%s:-default}, or $${%s} to leave it to the container's shell", name, name, name)
		}
		return value, nil
	case strings.HasPrefix(rest, ":-"):
		if value != "" {
			return value, nil
		}
		return interpolate(rest[2:], lookup)
	case strings.HasPrefix(rest, "-"):
		if set {
			return value, nil
		}
		return interpolate(rest[1:], lookup)
	case strings.HasPrefix(rest, ":?"):
		if value != "" {
			return value, nil
		}
		if rest == ":?" {
			return "", fmt.Errorf("variable %s is not set", name)
		}
		return "", errors.New(rest[2:])
	}
	return "", fmt.Errorf("${%s} is not understood: want ${VAR}, ${VAR:-default}, ${VAR-default} or ${VAR:?message}", expression)
}

func nameByte(c byte, first bool) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || !first && '0' <= c && c <= '9'
}
