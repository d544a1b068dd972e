package ignore

import (
	"strings"
	"testing"
)

// FuzzPatterns: no rules and no name may panic or take long, and what cannot
// match below a directory must not match there.
func FuzzPatterns(f *testing.F) {
	for _, seed := range [][2]string{
		{"*.o\n!keep.o\n", "a/b.o"}, {"/a/**/b\n", "a/x/y/b"}, {"[[:alpha:]][!a-c\\]]*\n", "ab]"},
		{"**/**/**/*a*a*a*a*a*a*a*b", strings.Repeat("a", 60)}, {"\\", "\\"}, {"[a", "[a"}, {"a\\ \n", "a "}, {"\uFEFFa\r\n", "a"}, {"foo**/bar", "foobar"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, rules, name string) {
		for _, p := range parseLines([]byte(rules), len(name)%2 == 0) {
			matched := p.match(name, true)
			dir, _, nested := strings.Cut(name, "/")
			if matched && nested && dir != "" && !p.below(dir) {
				t.Errorf("%+v matches %q though not below %q", p, name, dir)
			}
			// Rules are matched a line at a time.
			if strings.Contains(p.prefix, "\n") {
				t.Errorf("%+v holds a line's end", p)
			}
		}
	})
}
