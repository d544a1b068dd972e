package ignore

import "strings"

var notSlash = func() *byteSet {
	var set byteSet
	set.invert()
	return &set
}()

// invert takes the complement, which never holds '/'.
func (s *byteSet) invert() {
	for c := range s {
		s[c] = !s[c]
	}
	s['/'] = false
}

// addRange adds the bytes from low to high, which may be none.
func (s *byteSet) addRange(low, high byte) {
	for c := int(low); c <= int(high); c++ {
		s[c] = true
	}
}

// parseSet parses the bracket expression at text[i] and returns the index
// behind it; ok is false where it does not end or names an unknown class.
func parseSet(text string, i int, fold bool) (set *byteSet, next int, ok bool) {
	set = &byteSet{}
	i++
	negated := i < len(text) && (text[i] == '!' || text[i] == '^')
	if negated {
		i++
	}
	// low is the byte that a '-' would extend to a range; after a range or a
	// class there is none. A ']' in the first place stands for itself.
	low, first := -1, true
	for ; ; first = false {
		if i >= len(text) {
			return nil, 0, false
		}
		c := text[i]
		switch {
		case c == ']' && !first:
			if fold {
				set.fold()
			}
			if negated {
				set.invert()
			}
			set['/'] = false
			return set, i + 1, true
		case c == '-' && low >= 0 && i+1 < len(text) && text[i+1] != ']':
			high, n := quoted(text[i+1:])
			if n == 0 {
				return nil, 0, false
			}
			set.addRange(byte(low), high)
			low, i = -1, i+1+n
			continue
		case c == '[' && strings.HasPrefix(text[i+1:], ":"):
			name, n, closed := className(text[i:])
			if !closed {
				return nil, 0, false
			}
			if n > 0 {
				if !set.addClass(name) {
					return nil, 0, false
				}
				low, i = -1, i+n
				continue
			}
		}
		c, n := quoted(text[i:])
		if n == 0 {
			return nil, 0, false
		}
		set[c] = true
		low, i = int(c), i+n
	}
}

// quoted returns the first byte of text, or the one that a backslash quotes
// there, and the length of both; 0 where the text ends before.
func quoted(text string) (c byte, n int) {
	if text == "" || text == `\` {
		return 0, 0
	}
	if text[0] == '\\' {
		return text[1], 2
	}
	return text[0], 1
}

// className parses "[:name:]" at the start of text and returns the length of
// it, 0 where the text up to the next ']' is no class. closed is false where
// there is no ']' at all.
func className(text string) (name string, n int, closed bool) {
	end := strings.IndexByte(text[2:], ']')
	if end < 0 {
		return "", 0, false
	}
	inner := text[2 : 2+end]
	if !strings.HasSuffix(inner, ":") {
		return "", 0, true
	}
	return inner[:len(inner)-1], 2 + end + 1, true
}

// addClass adds the POSIX class of that name, in ASCII, and reports whether
// there is one.
func (s *byteSet) addClass(name string) bool {
	switch name {
	case "alnum":
		return s.addClass("alpha") && s.addClass("digit")
	case "alpha":
		return s.addClass("upper") && s.addClass("lower")
	case "blank":
		s.addBytes(" \t")
	case "cntrl":
		s.addRange(0, 0x1f)
		s[0x7f] = true
	case "digit":
		s.addRange('0', '9')
	case "graph":
		s.addRange('!', '~')
	case "lower":
		s.addRange('a', 'z')
	case "print":
		s.addRange(' ', '~')
	case "punct":
		s.addRange('!', '/')
		s.addRange(':', '@')
		s.addRange('[', '`')
		s.addRange('{', '~')
	case "space":
		s.addBytes(" \t\n\r")
	case "upper":
		s.addRange('A', 'Z')
	case "xdigit":
		s.addRange('0', '9')
		s.addRange('a', 'f')
		s.addRange('A', 'F')
	default:
		return false
	}
	return true
}

func (s *byteSet) addBytes(bytes string) {
	for i := range len(bytes) {
		s[bytes[i]] = true
	}
}

// fold makes upper and lower case letters the same.
func (s *byteSet) fold() {
	for c := 'a'; c <= 'z'; c++ {
		both := s[c] || s[c-'a'+'A']
		s[c], s[c-'a'+'A'] = both, both
	}
}
