package main

import (
	"os"
	"os/exec"
	"testing"
)

// pushOnce pushes a new commit to url and returns what git said.
func pushOnce(t *testing.T, url string) string {
	t.Helper()
	dir := t.TempDir()
	var said []byte
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "one"},
		{"push", url, "main"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("git %v: %v\n%s", args, err, out)
		}
		said = out
	}
	return string(said)
}
