package ignore_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzMatchesGit compares any rules with the real git, which is run for each
// input.
func FuzzMatchesGit(f *testing.F) {
	home := f.TempDir()
	for name, value := range map[string]string{"HOME": home, "XDG_CONFIG_HOME": home, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": filepath.Join(home, "none")} {
		if err := os.Setenv(name, value); err != nil {
			f.Fatal(err)
		}
	}
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 13))
		f.Add(randomRules(r, 4), randomRules(r, 3), randomRules(r, 2))
	}
	f.Add("*.o\n!keep.o\n", "/a/**/b\n", "\uFEFFa\r\n")
	f.Add("d/\n!d/a\n", "\\", "[a")
	f.Fuzz(func(t *testing.T, top, inner, exclude string) {
		dir := t.TempDir()
		git(t, dir, "init", "-q")
		for _, name := range treeFiles {
			write(t, filepath.Join(dir, name), "")
		}
		write(t, filepath.Join(dir, ".gitignore"), top)
		write(t, filepath.Join(dir, "d/.gitignore"), inner)
		write(t, filepath.Join(dir, ".git/info/exclude"), exclude)
		if want, got := gitFiles(t, dir), ourFiles(t, dir); !slices.Equal(want, got) {
			t.Errorf("%q, in d %q, exclude %q: differs from git (- git has it, + we have it):\n%s", top, inner, exclude, diff(want, got))
		}
	})
}
