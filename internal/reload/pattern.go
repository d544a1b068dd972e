package reload

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxPattern bounds a pattern, in bytes.
const maxPattern = 512

// pattern is one of .gitignore's: a name without a slash is looked for at any
// depth, one with a slash from the service's directory on; * and ? stand for
// what has no slash, [a-z] and [!a-z] for one character, ** as a whole name for
// any number of directories; a pattern that names a directory names all that is
// in it, one that ends in a slash only that. There is no ! in front: the first
// rule counts.
//
// It is a regular expression of a kind that takes time in proportion to the
// path, whatever the pattern is.
type pattern struct{ expression *regexp.Regexp }

func (p pattern) match(path string) bool { return p.expression.MatchString(path) }

func compile(text string) (pattern, error) {
	if err := checkPattern(text); err != nil {
		return pattern{}, err
	}
	body := strings.TrimSuffix(text, "/")
	below := "(?:/.*)?"
	if body != text {
		below = "/.*"
	}
	var out strings.Builder
	out.WriteString("(?s)^")
	if !strings.Contains(body, "/") {
		out.WriteString("(?:.*/)?")
	}
	names := strings.Split(strings.TrimPrefix(body, "/"), "/")
	for i, name := range names {
		last := i == len(names)-1
		switch {
		case name == "**" && last:
			out.WriteString(".+")
		case name == "**":
			out.WriteString("(?:.*/)?")
		default:
			expression, err := translate(name)
			if err != nil {
				return pattern{}, fmt.Errorf("%.100q: %w", text, err)
			}
			out.WriteString(expression)
			if !last {
				out.WriteString("/")
			}
		}
	}
	out.WriteString(below + "$")
	expression, err := regexp.Compile(out.String())
	if err != nil {
		return pattern{}, fmt.Errorf("%.100q is not a pattern", text)
	}
	return pattern{expression}, nil
}

func checkPattern(text string) error {
	switch {
	case strings.Trim(text, "/") == "":
		return errors.New("a pattern is empty")
	case len(text) > maxPattern:
		return fmt.Errorf("%.50q… has %d bytes: at most %d are allowed", text, len(text), maxPattern)
	case text[0] == '!':
		return fmt.Errorf(`%.100q: the first rule that names a path counts, so put the exception in a rule before this one (\! is a name that begins with !)`, text)
	case strings.ContainsAny(text, "\x00\n"):
		return fmt.Errorf("%.100q has a zero byte or a line end", text)
	}
	for name := range strings.SplitSeq(strings.Trim(text, "/"), "/") {
		if name == "" || name == "." || name == ".." {
			return fmt.Errorf("%.100q: a path in the service's directory has no name %q", text, name)
		}
	}
	return nil
}

// translate returns the expression for one name of a pattern.
func translate(name string) (string, error) {
	var out strings.Builder
	for rest := name; rest != ""; {
		c, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
		switch c {
		case '*':
			out.WriteString("[^/]*")
		case '?':
			out.WriteString("[^/]")
		case '[':
			class, after, err := translateClass(rest)
			if err != nil {
				return "", err
			}
			out.WriteString(class)
			rest = after
		case '\\':
			if rest == "" {
				return "", errors.New(`there is nothing behind the last \`)
			}
			c, size = utf8.DecodeRuneInString(rest)
			rest = rest[size:]
			fallthrough
		default:
			out.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	return out.String(), nil
}

// translateClass translates what follows a [ and returns what follows the ].
func translateClass(text string) (class, rest string, err error) {
	var out strings.Builder
	out.WriteString("[")
	if strings.HasPrefix(text, "!") || strings.HasPrefix(text, "^") {
		out.WriteString(`^\x{2f}`) // no slash, either
		text = text[1:]
	}
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		switch c := runes[i]; {
		case c == ']' && i > 0:
			out.WriteString("]")
			return out.String(), string(runes[i+1:]), nil
		case c == '-':
			out.WriteRune('-')
		case c == '\\' && i+1 < len(runes):
			i++
			out.WriteString(`\` + hex(runes[i]))
		default:
			out.WriteString(`\` + hex(c))
		}
	}
	return "", "", errors.New("a [ has no ]")
}

func hex(c rune) string { return fmt.Sprintf("x{%x}", c) }
