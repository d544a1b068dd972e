package pull

import (
	"fmt"
	"strings"
)

// Limits of Linux: NAME_MAX, and PATH_MAX with room for APP_PATH before it and
// the end mark after it.
const (
	maxName = 255
	maxPath = 4096 - 256
)

// tempPrefix begins the names of files that are being written. No tree may
// have such a name, so that what a crash left behind can be told from a
// service's own files.
const tempPrefix = ".stinger-tmp-"

// checkName reports why a tree may not have an entry of this name. The rules
// are those of git (verify_path), its stricter set: a name that means ".git" or
// ".." on any of the file systems that git knows is refused on all.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a name is empty")
	case name == "." || name == "..":
		return fmt.Errorf("%q is not a name", name)
	case len(name) > maxName:
		return fmt.Errorf("name %q… has %d bytes: at most %d are allowed", name[:32], len(name), maxName)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("name %q has a slash or a zero byte", name)
	case isDotGit(name):
		return fmt.Errorf("name %q stands for git's own directory", name)
	case strings.HasPrefix(name, tempPrefix):
		return fmt.Errorf("name %q begins with %s, which Stinger keeps for itself", name, tempPrefix)
	}
	return nil
}

// isDotGit reports whether the name reaches a directory .git on Linux, macOS
// (HFS+ ignores some code points and case) or Windows (NTFS ignores case,
// trailing dots and spaces, and what follows a colon; GIT~1 is the short name).
func isDotGit(name string) bool {
	name = strings.Map(func(r rune) rune {
		if ignoredByHFS(r) {
			return -1
		}
		return r
	}, name)
	name, _, _ = strings.Cut(name, ":")
	name, _, _ = strings.Cut(name, `\`)
	name = strings.ToLower(strings.TrimRight(name, ". "))
	return name == ".git" || name == "git~1"
}

func ignoredByHFS(r rune) bool {
	return 0x200c <= r && r <= 0x200f || 0x202a <= r && r <= 0x202e || 0x206a <= r && r <= 0x206f || r == 0xfeff
}

// checkTarget reports why a symbolic link may not have this target, depth
// being the number of directories that the link is in.
//
// The target may climb by ".." only at its beginning and no higher than the
// root: the link's own directory is a real one, so those steps lead where they
// seem to. A ".." behind a name would be a step up from wherever that name, if
// it is a link itself, leads to.
func checkTarget(target string, depth int) error {
	switch {
	case target == "":
		return fmt.Errorf("its target is empty")
	case len(target) > maxPath:
		return fmt.Errorf("its target has %d bytes: at most %d are allowed", len(target), maxPath)
	case strings.Contains(target, "\x00"):
		return fmt.Errorf("its target %q has a zero byte", target)
	case target[0] == '/':
		return fmt.Errorf("its target %q is absolute: use a relative one inside the directory", target)
	}
	named := false
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			named = true
		case named:
			return fmt.Errorf("its target %q has .. behind a name: use one with .. at its beginning only", target)
		default:
			depth--
		}
		if depth < 0 {
			return fmt.Errorf("its target %q is outside the directory", target)
		}
	}
	return nil
}
