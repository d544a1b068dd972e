package ignore_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot/ignore"
)

// isolate keeps the developer's own git settings out of the test.
func isolate(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": "", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "",
	} {
		t.Setenv(name, value)
	}
	os.Unsetenv("GIT_CONFIG_GLOBAL") // empty means none, to git
	return home
}

func command(dir string, args ...string) *exec.Cmd {
	return exec.Command("git", append([]string{"-C", dir}, args...)...)
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := command(dir, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// gitFiles returns what git takes for the files of dir: tracked or not ignored.
func gitFiles(t *testing.T, dir string) []string {
	t.Helper()
	out := git(t, dir, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	set := map[string]bool{}
	for name := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil && name != "" {
			set[name] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// ourFiles returns the same by package ignore.
func ourFiles(t *testing.T, dir string) []string {
	t.Helper()
	rules, err := ignore.Load(dir, ignore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	var walk func(d *ignore.Dir, rel string)
	walk = func(d *ignore.Dir, rel string) {
		list, err := os.ReadDir(filepath.Join(dir, rel))
		if err != nil {
			t.Fatal(err)
		}
		for _, de := range list {
			path := filepath.Join(rel, de.Name())
			v := d.Match(de.Name(), de.IsDir())
			switch {
			case v == ignore.Ignore:
			case de.IsDir():
				sub, err := d.Enter(de.Name(), v, nil)
				if err != nil {
					t.Fatal(err)
				}
				walk(sub, path)
			case v == ignore.Include:
				files = append(files, path)
			default:
				t.Errorf("%q is a file and has the verdict Search", path)
			}
		}
	}
	walk(rules, "")
	slices.Sort(files)
	return files
}

func diff(want, got []string) string {
	var b strings.Builder
	for _, name := range want {
		if !slices.Contains(got, name) {
			fmt.Fprintf(&b, "- %q\n", name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			fmt.Fprintf(&b, "+ %q\n", name)
		}
	}
	return b.String()
}

// treeFiles is what each generated directory holds: names that the generated
// patterns hit and miss.
var treeFiles = []string{
	"a", "b", "abb", "ac", "a.o", "b.o", ".o", "A", "a b", "a b ", "#a", "!a", "a\\b", "[a]", "a]", "*", "?", "a-b", "é",
	"d/a", "d/b", "d/a.o", "d/d/a", "d/d/b.o", "d/e/a", "e/a", "e/d/a.o", "e/d/d/b", "ab/a", "ab/c/a", "abc/d", "x/y/z/a", "x/y/a.o", "x/a",
}

var patternParts = []string{
	"a", "b", "ab", "c", "d", "e", "x", "y", "z", "o", ".o", "*", "*", "**", "***", "?", "/", "/", "/", "**/", "/**", "[ab]", "[!a]", "[^b]", "[a-c]",
	"[]a]", "[[:alpha:]]", "[[:nope:]]", "[[:]", "[a", "[b-a]", "[a\\]]", "[a-]", "[!-z]", "[a-c-e]", "[b-ba-]", "[--a]",
	"[[:digit:]-c]", "[[:al]", "[[:punct:]]", "[!]a]", "[a-\\c]", "[", "[^", "[a/b]", "[!/]", "\\", "\\a", "\\*", "\\/", "\\ ", " ", "#", "!", "é", ".", "]", "-",
}

func randomPattern(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(5) == 0 {
		b.WriteString("!")
	}
	if r.IntN(5) == 0 {
		b.WriteString("/")
	}
	for range 1 + r.IntN(5) {
		b.WriteString(patternParts[r.IntN(len(patternParts))])
	}
	if r.IntN(4) == 0 {
		b.WriteString("/")
	}
	if r.IntN(12) == 0 {
		b.WriteString(" ")
	}
	return b.String()
}

func randomRules(r *rand.Rand, n int) string {
	var b strings.Builder
	for range 1 + r.IntN(n) {
		b.WriteString(randomPattern(r))
		b.WriteString([]string{"\n", "\n", "\n", "\r\n", "\n\n"}[r.IntN(5)])
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// TestMatchesGit compares with the real git on generated rules: many
// directories, each with rules of its own, in one repository.
func TestMatchesGit(t *testing.T) {
	isolate(t)
	for seed := range uint64(2) {
		dir := t.TempDir()
		git(t, dir, "init", "-q")
		r := rand.New(rand.NewPCG(seed, 7))
		for i := range 150 {
			base := filepath.Join(dir, fmt.Sprintf("case%03d", i))
			for _, name := range treeFiles {
				write(t, filepath.Join(base, name), "")
			}
			write(t, filepath.Join(base, ".gitignore"), randomRules(r, 3))
			if r.IntN(2) == 0 {
				write(t, filepath.Join(base, []string{"d", "e", "x", "x/y"}[r.IntN(4)], ".gitignore"), randomRules(r, 3))
			}
		}
		compareCases(t, seed, dir, gitFiles(t, dir), ourFiles(t, dir))
	}
}

// compareCases compares by top directory and shows the rules of those that
// differ.
func compareCases(t *testing.T, seed uint64, dir string, want, got []string) {
	t.Helper()
	if slices.Equal(want, got) {
		return
	}
	faults := map[string][2][]string{}
	for side, names := range [][]string{want, got} {
		for _, name := range names {
			top, rest, _ := strings.Cut(name, "/")
			pair := faults[top]
			pair[side] = append(pair[side], rest)
			faults[top] = pair
		}
	}
	for top, pair := range faults {
		if slices.Equal(pair[0], pair[1]) {
			continue
		}
		var rules strings.Builder
		filepath.WalkDir(filepath.Join(dir, top), func(path string, _ os.DirEntry, _ error) error {
			if filepath.Base(path) == ".gitignore" {
				text, _ := os.ReadFile(path)
				fmt.Fprintf(&rules, "%s: %q\n", strings.TrimPrefix(path, dir), text)
			}
			return nil
		})
		t.Errorf("seed %d: %sdiffers from git (- git has it, + we have it):\n%s", seed, &rules, diff(pair[0], pair[1]))
	}
}

// TestMatchesGitOutside does the same for the rules that stand outside the
// directories, together with tracked files.
func TestMatchesGitOutside(t *testing.T) {
	home := isolate(t)
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 11))
		dir := t.TempDir()
		git(t, dir, "init", "-q")
		for _, name := range treeFiles {
			write(t, filepath.Join(dir, name), "")
		}
		for range 3 {
			git(t, dir, "add", "-f", "--", ":(literal)"+treeFiles[r.IntN(len(treeFiles))])
		}
		write(t, filepath.Join(dir, ".git/info/exclude"), randomRules(r, 3))
		write(t, filepath.Join(home, ".config/git/ignore"), randomRules(r, 3))
		if r.IntN(2) == 0 {
			write(t, filepath.Join(dir, ".gitignore"), randomRules(r, 2))
		}
		if want, got := gitFiles(t, dir), ourFiles(t, dir); !slices.Equal(want, got) {
			t.Errorf("seed %d differs from git (- git has it, + we have it):\n%s", seed, diff(want, got))
		}
	}
}

func TestRepositories(t *testing.T) {
	home := isolate(t)
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	git(t, dir, "config", "user.email", "a@b")
	git(t, dir, "config", "user.name", "a")
	write(t, filepath.Join(dir, ".gitignore"), "*.log\n/services/a/build/\n")
	write(t, filepath.Join(dir, "services/a/.gitignore"), "/local\n")
	for _, name := range []string{"main.py", "x.log", "local", "build/out", "sub/local", "sub/x.log", "note.tmp", "mine.secret"} {
		write(t, filepath.Join(dir, "services/a", name), "")
	}
	write(t, filepath.Join(home, ".gitconfig"), "[include]\n\tpath = more\n")
	write(t, filepath.Join(home, "more"), "[core]\n\texcludesFile = ~/everywhere\n")
	write(t, filepath.Join(home, "everywhere"), "*.tmp\n")
	write(t, filepath.Join(dir, ".git/info/exclude"), "*.secret\n")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-qm", "one")
	tree := filepath.Join(t.TempDir(), "tree")
	git(t, dir, "worktree", "add", "-q", tree)
	write(t, filepath.Join(tree, "services/a/new.secret"), "")
	write(t, filepath.Join(tree, "services/a/new.py"), "")
	for _, sub := range []string{
		dir, filepath.Join(dir, "services/a"), filepath.Join(dir, "services/a/sub"),
		tree, filepath.Join(tree, "services/a"),
	} {
		if want, got := gitFiles(t, sub), ourFiles(t, sub); !slices.Equal(want, got) {
			t.Errorf("in %s: differs from git (- git has it, + we have it):\n%s", sub, diff(want, got))
		}
	}
}

func TestWithoutRepository(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	for _, name := range []string{"a.py", "a.pyc", "build/a", "sub/a.pyc", ".a.py.swp", "a.py~"} {
		write(t, filepath.Join(dir, name), "")
	}
	write(t, filepath.Join(dir, ".gitignore"), "*.pyc\nbuild\n")
	if want, got := []string{".gitignore", "a.py"}, ourFiles(t, dir); !slices.Equal(want, got) {
		t.Errorf("files (- missing, + too many):\n%s", diff(want, got))
	}
}

// TestInnerRepository: from the root of a repository inside the directory on,
// its rules count, and the outer ones do not.
func TestInnerRepository(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	write(t, filepath.Join(dir, ".gitignore"), "*.log\n/vendor\n")
	for _, name := range []string{"a.log", "lib/b.log", "lib/c.tmp", "lib/d", "vendor/x/e"} {
		write(t, filepath.Join(dir, name), "")
	}
	git(t, filepath.Join(dir, "lib"), "init", "-q")
	git(t, filepath.Join(dir, "vendor/x"), "init", "-q")
	write(t, filepath.Join(dir, "lib/.gitignore"), "*.tmp\n")
	want := []string{".gitignore", "lib/.gitignore", "lib/b.log", "lib/d"}
	if got := ourFiles(t, dir); !slices.Equal(want, got) {
		t.Errorf("files (- missing, + too many):\n%s", diff(want, got))
	}
}
