package ignore

import "strings"

// pattern is one line of an ignore file.
type pattern struct {
	negated  bool // '!': what matches is not ignored
	dirOnly  bool // trailing '/': matches directories only
	baseOnly bool // no '/': matches the last component, at any depth
	deep     bool // some wildcard crosses '/'
	depth    int  // components, where not baseOnly
	prefix   string
	glob     *glob // what follows prefix; nil where nothing does
}

// parseLines returns the patterns of an ignore file. With fold, upper and
// lower case are the same, as core.ignoreCase asks.
func parseLines(text []byte, fold bool) []pattern {
	var patterns []pattern
	content := strings.TrimPrefix(string(text), "\uFEFF")
	for line := range strings.SplitSeq(content, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		if p, ok := parseLine(line, fold); ok {
			patterns = append(patterns, p)
		}
	}
	return patterns
}

// parseLine parses one line that is no comment; ok is false where it can never
// match.
func parseLine(line string, fold bool) (p pattern, ok bool) {
	if i := strings.IndexByte(line, 0); i >= 0 {
		line = line[:i] // git's lines are C strings
	}
	line = trimSpaces(line)
	if strings.HasPrefix(line, "!") {
		p.negated, line = true, line[1:]
	}
	if strings.HasSuffix(line, "/") {
		p.dirOnly, line = true, line[:len(line)-1]
	}
	p.baseOnly = !strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return p, false
	}
	if fold {
		line = lower(line)
	}
	p.depth = strings.Count(line, "/") + 1
	plain := strings.IndexAny(line, `*?[\`)
	if plain < 0 {
		p.prefix = line
		return p, true
	}
	p.prefix = line[:plain]
	if p.glob, ok = compile(line[plain:], fold); !ok {
		return p, false
	}
	p.deep = p.glob.deep
	return p, true
}

// trimSpaces removes trailing spaces that no backslash quotes.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

// match reports whether the pattern matches name: a path relative to the
// directory of the ignore file or, where baseOnly, its last component.
func (p *pattern) match(name string, isDir bool) bool {
	if p.dirOnly && !isDir || !strings.HasPrefix(name, p.prefix) {
		return false
	}
	rest := name[len(p.prefix):]
	if p.glob == nil {
		return rest == ""
	}
	return p.glob.match(rest)
}

// below reports whether the pattern may match something below dir, a path
// relative to the directory of the ignore file ("" for that directory). It
// errs on the side of true.
func (p *pattern) below(dir string) bool {
	if p.baseOnly || dir == "" {
		return true
	}
	if !p.deep && strings.Count(dir, "/")+1 >= p.depth {
		return false
	}
	dir += "/"
	return strings.HasPrefix(dir, p.prefix) || strings.HasPrefix(p.prefix, dir)
}

// lower folds ASCII letters, the only ones that git folds.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
