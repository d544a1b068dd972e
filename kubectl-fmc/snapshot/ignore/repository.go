package ignore

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/config"
)

// repository is what counts of a git repository: where it is, the rules that
// stand outside its directories, and its tracked files. The zero value with
// global rules stands for a directory without one.
type repository struct {
	top     string // absolute; empty where there is no repository
	prefix  string // top as a Dir.path
	fold    bool   // core.ignoreCase
	global  []byte // the text of core.excludesFile
	exclude []byte // the text of info/exclude
	tracked []string
	// executable are the tracked files that git checks out as executable; they
	// count where noModes is set: core.fileMode=false, say on Windows.
	executable map[string]bool
	noModes    bool
	crlf       bool // core.autoCRLF
	// Where the above were read; empty for what there is none of.
	globalPath, excludePath, indexPath string
}

// findRepository returns the repository that abs is in.
func findRepository(abs string) (*repository, error) {
	repo := &repository{}
	for dir := abs; ; dir = filepath.Dir(dir) {
		found, err := openRepository(dir)
		if err != nil {
			return nil, err
		}
		if found != nil {
			repo = found
			break
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	values := settings(abs, repo)
	repo.fold = isTrue(values["core.ignorecase"])
	repo.crlf = isTrue(values["core.autocrlf"])
	modes, set := values["core.filemode"]
	repo.noModes = set && !isTrue(modes) || !set && runtime.GOOS == "windows"
	global, set := values["core.excludesfile"]
	if !set {
		global = filepath.Join(configHome(), "git", "ignore")
	}
	if global != "" {
		repo.globalPath = rooted(repo.top, expandHome(global))
		var err error
		if repo.global, err = readOutside(repo.globalPath); err != nil {
			return nil, err
		}
	}
	return repo, nil
}

// openRepository returns the repository whose root is dir, or nil.
func openRepository(dir string) (*repository, error) {
	gitDir := filepath.Join(dir, ".git")
	if text, err := readFile(gitDir, maxLink); err == nil {
		to, found := strings.CutPrefix(strings.TrimRight(string(text), "\r\n"), "gitdir: ")
		if !found {
			return nil, nil
		}
		gitDir = rooted(dir, to)
	}
	if _, err := os.Lstat(filepath.Join(gitDir, "HEAD")); err != nil {
		return nil, nil
	}
	repo := &repository{top: dir, indexPath: filepath.Join(gitDir, "index")}
	repo.tracked, repo.executable = readTracked(dir, repo.indexPath)
	// A worktree shares all but its index and HEAD with its repository.
	common := gitDir
	if text, err := readFile(filepath.Join(gitDir, "commondir"), maxLink); err == nil {
		common = rooted(gitDir, strings.TrimSpace(string(text)))
	}
	repo.excludePath = filepath.Join(common, "info", "exclude")
	var err error
	repo.exclude, err = readOutside(repo.excludePath)
	return repo, err
}

func rooted(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// inherit takes over the settings that do not come from a repository.
func (r *repository) inherit(outer *repository) {
	r.fold, r.noModes, r.global = outer.fold, outer.noModes, outer.global
}

// editorFiles are what editors write beside a file that is open or is being
// saved: Vim, Emacs, Kate, JetBrains and GNOME. Without a rule for them,
// typing would be a change.
const editorFiles = `
.*.sw[a-px]
.sw[a-px]
*~
.#*
\#*#
.*.kate-swp
*___jb_tmp___
*___jb_old___
.goutputstream-*
`

// lists returns the rules from outside the directories, the strongest last.
func (r *repository) lists(base string) []list {
	var lists []list
	for _, text := range [][]byte{[]byte(editorFiles), r.global, r.exclude} {
		if patterns := parseLines(text, r.fold); len(patterns) > 0 {
			lists = append(lists, list{base: base, patterns: patterns})
		}
	}
	return lists
}

// tracks reports whether the file at path is tracked.
func (r *repository) tracks(path string) bool {
	_, found := slices.BinarySearch(r.tracked, strings.TrimPrefix(path, r.prefix))
	return found
}

// tracksBelow reports whether a file below the directory at path is tracked.
func (r *repository) tracksBelow(path string) bool {
	dir := strings.TrimPrefix(path, r.prefix) + "/"
	i := sort.SearchStrings(r.tracked, dir)
	return i < len(r.tracked) && strings.HasPrefix(r.tracked[i], dir)
}

// runGit returns what git prints in dir.
func runGit(dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// A file system monitor, which may be any program, is not ours to start.
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.fsmonitor=false"}, args...)...)
	for _, v := range os.Environ() {
		// Set where the caller is a git hook, and then for another repository.
		name, _, _ := strings.Cut(v, "=")
		if !slices.Contains([]string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"}, name) {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_OPTIONAL_LOCKS=0")
	out, err := cmd.Output()
	return string(out), err
}

// settings returns git's configuration as it is for dir, by lower-case name.
// git itself knows best, with all its includes; where there is none, the usual
// files are read.
func settings(dir string, repo *repository) map[string]string {
	out, err := runGit(dir, "config", "--list", "-z", "--includes")
	if err != nil {
		return readSettings(repo)
	}
	values := map[string]string{}
	for item := range strings.SplitSeq(out, "\x00") {
		name, value, hasValue := strings.Cut(item, "\n")
		if !hasValue {
			value = "true"
		}
		values[name] = value
	}
	return values
}

// isTrue reports whether git takes the value of a setting for true.
func isTrue(value string) bool {
	return slices.Contains([]string{"true", "yes", "on", "1"}, strings.ToLower(value))
}

// readSettings reads the user's and the repository's own configuration.
func readSettings(repo *repository) map[string]string {
	home, _ := os.UserHomeDir()
	files := []string{filepath.Join(configHome(), "git", "config"), filepath.Join(home, ".gitconfig")}
	if repo.top != "" {
		files = append(files, filepath.Join(repo.top, ".git", "config"))
	}
	values := map[string]string{}
	for _, name := range files {
		f, err := openRegular(name)
		if err != nil {
			continue
		}
		parsed := config.New()
		if config.NewDecoder(f).Decode(parsed) == nil {
			for _, o := range parsed.Section("core").Options {
				values["core."+strings.ToLower(o.Key)] = o.Value
			}
		}
		f.Close()
	}
	return values
}

func configHome() string {
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return dir
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".config")
}

func expandHome(path string) string {
	if rest, found := strings.CutPrefix(path, "~/"); found {
		home, _ := os.UserHomeDir()
		return filepath.Join(home, rest)
	}
	return path
}
