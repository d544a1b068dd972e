package chamber

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Choice is a preset with its reason.
type Choice struct {
	language language
	tool     tool
	// Found are the files that asked for it.
	Found []string
}

// Name of the preset; it has the tool only where that was told.
func (c Choice) Name() string {
	if len(c.language.tools) > 1 {
		return c.language.name + "-" + c.tool.name
	}
	return c.language.name
}

// Detect finds the preset that a directory's files ask for. Only the names in
// the directory itself count, and the packageManager of a package.json.
func Detect(dir fs.FS) (Choice, error) {
	names, err := fileNames(dir)
	if err != nil {
		return Choice{}, err
	}
	candidates := candidates(names, func(l language) []string { return l.marks })
	if len(candidates) == 0 {
		candidates = findHints(names)
	}
	switch len(candidates) {
	case 0:
		return Choice{}, errors.New("no chamber fits the directory: it has none of " + lookedFor() +
			"; name a chamber (chamber: NAME in the definition, or --chamber), or an image (image: or --image) with a command")
	case 1:
		return candidates[0].withTool(dir, names)
	}
	var found, ways []string
	for _, c := range candidates {
		found = append(found, fmt.Sprintf("%s (%s)", c.language.name, strings.Join(c.Found, ", ")))
		ways = append(ways, c.language.name)
	}
	return Choice{}, fmt.Errorf("several chambers fit the directory: %s; say which with chamber: %s in the definition, or --chamber",
		list(found, "and"), list(ways, "or"))
}

// Named returns the preset called name. Where that is only a language, the
// directory tells which tool builds it; a nil dir leaves it to the first.
func Named(name string, dir fs.FS) (Choice, error) {
	for _, l := range languages {
		for _, t := range l.tools {
			if name == l.name+"-"+t.name {
				return Choice{language: l, tool: t}, nil
			}
		}
		if name != l.name {
			continue
		}
		if dir == nil {
			return Choice{language: l, tool: l.tools[0]}, nil
		}
		names, err := fileNames(dir)
		if err != nil {
			return Choice{}, err
		}
		return Choice{language: l}.withTool(dir, names)
	}
	return Choice{}, fmt.Errorf("no chamber %q: want one of %s, or configmap/NAME for one of your own", name, list(Names(), "and"))
}

func fileNames(dir fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, fmt.Errorf("looking for a chamber's files: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func candidates(names []string, of func(language) []string) []Choice {
	var found []Choice
	for _, l := range languages {
		if marks := matching(names, of(l)); len(marks) > 0 {
			found = append(found, Choice{language: l, Found: marks})
		}
	}
	return found
}

// findHints finds by hints. A tool's settings (eslint.config.js, conftest.py)
// are no program.
func findHints(names []string) []Choice {
	programs := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return strings.Contains(name, ".config.") || strings.HasPrefix(name, ".") || name == "conftest.py"
	})
	return candidates(programs, func(l language) []string { return l.hints })
}

// matching returns the names that fit one of the patterns, three at most.
func matching(names, patterns []string) []string {
	var found []string
	for _, name := range names {
		fits := slices.ContainsFunc(patterns, func(pattern string) bool {
			ok, err := path.Match(pattern, name)
			return ok && err == nil
		})
		if fits && len(found) < 3 {
			found = append(found, name)
		}
	}
	return found
}

// withTool finds which of the language's tools the directory is for.
func (c Choice) withTool(dir fs.FS, names []string) (Choice, error) {
	var found []tool
	var marks, ways []string
	for _, t := range c.language.tools {
		if fits := matching(names, t.marks); len(fits) > 0 {
			found = append(found, t)
			marks = append(marks, fits...)
			ways = append(ways, c.language.name+"-"+t.name)
		}
	}
	if c.language.name == "node" {
		if named, ok := packageManager(dir, c.language.tools); ok {
			c.tool = named
			c.Found = appendNew(c.Found, "package.json")
			return c, nil
		}
	}
	switch len(found) {
	case 0:
		c.tool = c.language.tools[0]
		return c, nil
	case 1:
		c.tool = found[0]
		c.Found = appendNew(c.Found, marks...)
		return c, nil
	}
	return Choice{}, fmt.Errorf("several tools may build the directory, for it has %s; say which with chamber: %s in the definition, or --chamber",
		list(marks, "and"), list(ways, "or"))
}

func appendNew(to []string, names ...string) []string {
	for _, name := range names {
		if !slices.Contains(to, name) {
			to = append(to, name)
		}
	}
	return to
}

// maxPackage bounds what is read of a package.json; those of programs have some
// kilobytes.
const maxPackage = 1 << 20

// packageManager returns the tool that package.json names, such as pnpm of
// "packageManager": "pnpm@9.1.0". A file that is not understood names none: npm
// itself says what is wrong with it.
func packageManager(dir fs.FS, tools []tool) (tool, bool) {
	f, err := dir.Open("package.json")
	if err != nil {
		return tool{}, false
	}
	defer f.Close()
	var content struct {
		PackageManager string `json:"packageManager"`
	}
	if err := json.NewDecoder(io.LimitReader(f, maxPackage)).Decode(&content); err != nil {
		return tool{}, false
	}
	name, _, _ := strings.Cut(content.PackageManager, "@")
	i := slices.IndexFunc(tools, func(t tool) bool { return t.name == name })
	if i < 0 {
		return tool{}, false
	}
	return tools[i], true
}

// lookedFor lists what Detect knows, for a message.
func lookedFor() string {
	var all []string
	for _, l := range languages {
		all = append(all, fmt.Sprintf("%s (%s)", strings.Join(slices.Concat(l.marks, l.hints), ", "), l.name))
	}
	return strings.Join(all, "; ")
}
