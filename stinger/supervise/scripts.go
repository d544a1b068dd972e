package supervise

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Scripts finds what a service brings to start, clean up, build and reload itself.
type Scripts struct {
	Dir string // looked in first: STINGER_SCRIPTS
	App string // the service's own directory; its scripts are in .fmc
	// Command is what Start falls back to.
	Command []string
}

// Names of the scripts; each may also end in .sh.
const (
	ScriptStart   = "start"
	ScriptCleanup = "cleanup"
	ScriptBuild   = "build"
	ScriptReload  = "reload"
)

// Start returns the arguments that start the service.
func (s Scripts) Start() ([]string, error) {
	argv, err := s.Find(ScriptStart)
	if err != nil || argv != nil {
		return argv, err
	}
	if len(s.Command) > 0 {
		return s.Command, nil
	}
	return nil, fmt.Errorf("finding what to start: there is no %s, no %s and no command: add one of the scripts (.sh may follow the name), or give the container a command",
		filepath.Join(s.Dir, ScriptStart), filepath.Join(s.App, ".fmc", ScriptStart))
}

// Find returns the arguments that run the named script; nil where there is no
// such script.
func (s Scripts) Find(name string) ([]string, error) {
	for _, dir := range []string{s.Dir, filepath.Join(s.App, ".fmc")} {
		for _, file := range []string{name, name + ".sh"} {
			path := filepath.Join(dir, file)
			info, err := os.Stat(path)
			if err != nil || !info.Mode().IsRegular() {
				continue // a ConfigMap's files are links, which Stat follows
			}
			return invocation(path, info.Mode()&0o111 != 0)
		}
	}
	return nil, nil
}

const shell = "/bin/sh"

// invocation returns how to run the file. One that the kernel can execute is
// executed; a ConfigMap's files have no executable bit, so a file that names
// its interpreter is given to that, and any other to the shell.
func invocation(path string, executable bool) ([]string, error) {
	head, err := readHead(path)
	if err != nil {
		return nil, fmt.Errorf("reading script %s: %w", path, err)
	}
	line, isScript := strings.CutPrefix(head, "#!")
	switch {
	case executable && (isScript || strings.HasPrefix(head, "\x7fELF")):
		return []string{path}, nil
	case isScript && strings.TrimSpace(line) != "":
		// As the kernel does: one argument at most, spaces and all.
		interpreter, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
		if argument = strings.TrimSpace(argument); argument != "" {
			return []string{interpreter, argument, path}, nil
		}
		return []string{interpreter, path}, nil
	}
	if _, err := os.Stat(shell); err != nil {
		return nil, fmt.Errorf("running script %s: the image has no %s: make the script an executable, or name its interpreter in the first line (#!)", path, shell)
	}
	return []string{shell, path}, nil
}

// readHead returns the file's first line, or as much of it as the kernel reads
// (256 bytes, BINPRM_BUF_SIZE).
func readHead(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head, err := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	return strings.TrimRight(head, "\r\n"), nil
}
