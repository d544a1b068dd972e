package ignore

import "strings"

// glob is a compiled wildcard pattern. It is matched as an automaton, all its
// states at once, so that no pattern, however hostile, takes more than its
// length times the name's.
type glob struct {
	steps  []step
	deep   bool   // some step crosses '/'
	suffix string // set where the glob is '*' and then this text
}

type stepKind uint8

const (
	stepByte   stepKind = iota // one byte
	stepSet                    // one byte of a set, never '/'
	stepName                   // "*": any bytes but '/'
	stepDeep                   // "**" at a path's end: any bytes
	stepDirs                   // "**/": nothing, or any bytes and then '/'
	stepInDirs                 // the inside of the step before; follows each stepDirs
)

type step struct {
	kind stepKind
	char byte
	set  *byteSet
}

type byteSet [256]bool

// compile compiles text; ok is false where it is malformed, and so matches
// nothing.
func compile(text string, fold bool) (g *glob, ok bool) {
	g = &glob{}
	for i := 0; i < len(text); {
		switch text[i] {
		case '\\':
			if i+1 == len(text) {
				return nil, false
			}
			g.steps = append(g.steps, step{kind: stepByte, char: text[i+1]})
			i += 2
		case '?':
			g.steps = append(g.steps, step{kind: stepSet, set: notSlash})
			i++
		case '*':
			i = g.stars(text, i)
		case '[':
			set, next, ok := parseSet(text, i, fold)
			if !ok {
				return nil, false
			}
			g.steps = append(g.steps, step{kind: stepSet, set: set})
			i = next
		default:
			g.steps = append(g.steps, step{kind: stepByte, char: text[i]})
			i++
		}
	}
	if text[0] == '*' && !strings.ContainsAny(text[1:], `*?[\/`) {
		g.suffix = text[1:]
	}
	return g, true
}

// stars compiles the run of asterisks at text[i] and returns the index behind
// it. Two or more cross '/' where they are a whole component.
func (g *glob) stars(text string, i int) int {
	end := i
	for end < len(text) && text[end] == '*' {
		end++
	}
	rest := text[end:]
	starts := i == 0 || text[i-1] == '/'
	switch {
	case end-i == 1 || !starts:
		g.steps = append(g.steps, step{kind: stepName})
	case strings.HasPrefix(rest, "/"):
		g.deep = true
		g.steps = append(g.steps, step{kind: stepDirs}, step{kind: stepInDirs})
		return end + 1
	case rest == "" || strings.HasPrefix(rest, `\/`):
		g.deep = true
		g.steps = append(g.steps, step{kind: stepDeep})
	default:
		g.steps = append(g.steps, step{kind: stepName})
	}
	return end
}

// match reports whether the whole of name matches.
func (g *glob) match(name string) bool {
	if g.suffix != "" && !strings.Contains(name, "/") {
		return strings.HasSuffix(name, g.suffix)
	}
	var small [2][48]bool
	now, next := small[0][:], small[1][:]
	if len(g.steps) >= len(now) {
		now, next = make([]bool, len(g.steps)+1), make([]bool, len(g.steps)+1)
	}
	now, next = now[:len(g.steps)+1], next[:len(g.steps)+1]
	g.enter(now, 0)
	for i := 0; i < len(name); i++ {
		clear(next)
		alive := false
		for s, on := range now[:len(g.steps)] {
			if on {
				alive = g.advance(next, s, name[i]) || alive
			}
		}
		if !alive {
			return false
		}
		now, next = next, now
	}
	return now[len(g.steps)]
}

// enter switches on state s and those reached from it without a byte.
func (g *glob) enter(states []bool, s int) {
	for !states[s] {
		states[s] = true
		if s == len(g.steps) {
			return
		}
		switch g.steps[s].kind {
		case stepName, stepDeep:
			s++
		case stepDirs:
			s += 2
		default:
			return
		}
	}
}

// advance switches on the states that follow state s after the byte c and
// reports whether there are any.
func (g *glob) advance(states []bool, s int, c byte) bool {
	switch st := &g.steps[s]; st.kind {
	case stepByte:
		if c != st.char {
			return false
		}
		g.enter(states, s+1)
	case stepSet:
		if !st.set[c] {
			return false
		}
		g.enter(states, s+1)
	case stepName:
		if c == '/' {
			return false
		}
		g.enter(states, s)
	case stepDeep:
		g.enter(states, s)
	case stepDirs, stepInDirs:
		inside := s
		if st.kind == stepDirs {
			inside++
		}
		g.enter(states, inside)
		if c == '/' {
			g.enter(states, inside+1)
		}
	}
	return true
}
