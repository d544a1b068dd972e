package definition

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder walks a file's nodes and gathers what is wrong with them.
type decoder struct {
	file, folder string
	lookup       func(string) (string, bool)
	// plain leaves ${…} alone.
	plain    bool
	faults   []located
	warnings []string
	merged   int // mappings that were read
}

// located is a fault with its line.
type located struct {
	line int
	err  error
}

// err joins the faults in the order of their lines.
func (d *decoder) err() error {
	slices.SortStableFunc(d.faults, func(a, b located) int { return cmp.Compare(a.line, b.line) })
	errs := make([]error, 0, len(d.faults))
	for _, f := range d.faults {
		errs = append(errs, f.err)
	}
	return errors.Join(errs...)
}

// fields are the keys of a mapping and what to do with their values.
type fields map[string]func(value *yaml.Node, path string)

func (d *decoder) fault(n *yaml.Node, path, format string, args ...any) {
	where := fmt.Sprintf("%s:%d: ", d.file, n.Line)
	if path != "" {
		where += path + ": "
	}
	d.faults = append(d.faults, located{n.Line, fmt.Errorf("%s%s", where, fmt.Sprintf(format, args...))})
}

func (d *decoder) warn(n *yaml.Node, path, format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf("%s:%d: %s: %s", d.file, n.Line, path, fmt.Sprintf(format, args...)))
}

// pair is a key of a mapping with its value.
type pair struct{ key, value *yaml.Node }

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// pairs returns a mapping's keys and values, those of merged mappings (<<)
// after its own.
func (d *decoder) pairs(n *yaml.Node, path string) []pair {
	return d.pairsDeep(n, path, 0)
}

// maxMerge bounds how deep merged mappings may hold merged mappings, and
// maxMerges how many mappings are read of a file, merged ones each time again:
// mappings that merge each other many times over would go on for ever.
const (
	maxMerge  = 8
	maxMerges = 100_000
)

func (d *decoder) pairsDeep(n *yaml.Node, path string, depth int) []pair {
	n = resolve(n)
	if d.merged++; d.merged > maxMerges {
		return nil
	}
	if n.Kind != yaml.MappingNode || depth > maxMerge {
		d.fault(n, path, "want a mapping (key: value), not %s", describe(n))
		return nil
	}
	var own, merged []pair
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		if key.Tag == "!!merge" {
			sources := []*yaml.Node{value}
			if value.Kind == yaml.SequenceNode {
				sources = value.Content
			}
			for _, source := range sources {
				merged = append(merged, d.pairsDeep(source, path, depth+1)...)
			}
			continue
		}
		if seen[key.Value] {
			d.fault(key, join(path, key.Value), "given twice")
			continue
		}
		seen[key.Value] = true
		own = append(own, pair{key, value})
	}
	for _, p := range merged {
		if !seen[p.key.Value] {
			seen[p.key.Value] = true
			own = append(own, p)
		}
	}
	return own
}

// mapping calls the function of each key of n. A key without one is a fault.
func (d *decoder) mapping(n *yaml.Node, path string, known fields) {
	for _, p := range d.pairs(n, path) {
		name := p.key.Value
		if decode, ok := known[name]; ok {
			decode(p.value, join(path, name))
			continue
		}
		if path == "" && strings.HasPrefix(name, "x-") {
			continue
		}
		names := make([]string, 0, len(known))
		for k := range known {
			names = append(names, k)
		}
		slices.Sort(names)
		if near := nearest(name, names); near != "" {
			d.fault(p.key, path, "unknown key %q: did you mean %q?", name, near)
		} else {
			d.fault(p.key, path, "unknown key %q: want one of %s", name, list(names))
		}
	}
}

// items calls decode for each item of a list.
func (d *decoder) items(n *yaml.Node, path string, decode func(n *yaml.Node, path string)) {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		d.fault(n, path, "want a list, not %s", describe(n))
		return
	}
	for i, item := range n.Content {
		decode(resolve(item), fmt.Sprintf("%s[%d]", path, i))
	}
}

// text returns a string, with variables replaced. Numbers and booleans are
// taken as they are written.
func (d *decoder) text(n *yaml.Node, path string) string {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.fault(n, path, "want a string, not %s", describe(n))
		return ""
	}
	if d.plain || n.Tag != "!!str" {
		return n.Value
	}
	value, err := interpolate(n.Value, d.lookup)
	if err != nil {
		d.fault(n, path, "%v", err)
	}
	return value
}

func (d *decoder) texts(n *yaml.Node, path string) []string {
	if resolve(n).Kind == yaml.ScalarNode {
		d.fault(n, path, "want a list such as [python3, app.py], not %s", describe(resolve(n)))
		return nil
	}
	var texts []string
	d.items(n, path, func(n *yaml.Node, path string) { texts = append(texts, d.text(n, path)) })
	return texts
}

func (d *decoder) boolean(n *yaml.Node, path string) bool {
	if n = resolve(n); n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.fault(n, path, "want true or false, not %s", describe(n))
		return false
	}
	text, ok := d.scalar(n, path)
	if ok && text != "true" && text != "false" {
		d.fault(n, path, "want true or false, not %q", text)
	}
	return text == "true"
}

// scalar is text, and false where that was a fault, which is told once.
func (d *decoder) scalar(n *yaml.Node, path string) (string, bool) {
	before := len(d.faults)
	text := d.text(n, path)
	return text, len(d.faults) == before
}

func (d *decoder) number(n *yaml.Node, path string, low, high int) int32 {
	text, ok := d.scalar(n, path)
	if !ok {
		return int32(low)
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < low || v > high {
		d.fault(n, path, "want a whole number from %d to %d, not %q", low, high, text)
		return int32(low)
	}
	return int32(v)
}

func (d *decoder) oneOf(n *yaml.Node, path string, allowed ...string) string {
	text, ok := d.scalar(n, path)
	if ok && !slices.Contains(allowed, text) {
		d.fault(n, path, "want one of %s, not %q", list(allowed), text)
	}
	return text
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	default:
		return strconv.Quote(n.Value)
	}
}

// list joins words for people: a, b and c.
func list(words []string) string {
	switch len(words) {
	case 0:
		return "none"
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// nearest returns the candidate that name is most likely a slip of, or "".
func nearest(name string, candidates []string) string {
	best, bestDistance := "", 3 // three slips are no slip
	for _, c := range candidates {
		distance := editDistance(strings.ToLower(name), strings.ToLower(c))
		if distance < bestDistance && distance < len(c) {
			best, bestDistance = c, distance
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours between a and b.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
