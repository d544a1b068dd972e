package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Cache is a folder of built programs.
type Cache struct {
	Dir    string    // of the whole cache; made if missing
	Source string    // the folder with one folder per program
	Log    io.Writer // one line for each build
}

// environment of every build: what the user's settings say about proxies and
// caches stays, what changes the binary is fixed.
func environment() []string {
	return append(os.Environ(),
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=")
}

// Build returns the folder of p's binaries, after building them if they are
// not in the cache.
func (c Cache) Build(ctx context.Context, p Program) (string, error) {
	dir, err := c.Find(ctx, p)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	unlock, err := Lock(ctx, filepath.Join(c.Dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	// Another process may have built it while this one waited.
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	began := time.Now()
	fmt.Fprintf(c.Log, "building %s %s ...\n", p.Name, p.Version)
	if err := Atomically(dir, func(tmp string) error { return c.compile(ctx, p, tmp) }); err != nil {
		return "", fmt.Errorf("building %s: %w", p.Name, err)
	}
	fmt.Fprintf(c.Log, "built %s %s in %s\n", p.Name, p.Version, time.Since(began).Round(100*time.Millisecond))
	return dir, nil
}

// Find returns the folder of p's binaries, and fs.ErrNotExist with it where
// they are not built.
func (c Cache) Find(ctx context.Context, p Program) (string, error) {
	key, err := c.key(ctx, p)
	if err != nil {
		return "", fmt.Errorf("computing the cache key of %s: %w", p.Name, err)
	}
	dir := filepath.Join(c.Dir, "programs", p.Name+"-"+p.Version+"-"+key)
	if _, err := os.Stat(dir); err != nil {
		return dir, err
	}
	return dir, nil
}

func (c Cache) compile(ctx context.Context, p Program, out string) error {
	args := append([]string{"build"}, p.flags()...)
	args = append(args, "-o", out+"/")
	cmd := exec.CommandContext(ctx, "go", append(args, p.Packages...)...)
	cmd.Dir = filepath.Join(c.Source, p.Name)
	cmd.Env = environment()
	// Interrupted, it removes its temporary files.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s in %s: %w\n%s", cmd, cmd.Dir, err, tail(said.String(), 30))
	}
	return nil
}

// key is the digest of everything that decides how the binaries come out.
func (c Cache) key(ctx context.Context, p Program) (string, error) {
	dir := filepath.Join(c.Source, p.Name)
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Dir = dir
	version, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("asking for the version of go: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%q\n%q\n%q\n", strings.TrimSpace(string(version)), p.Version, p.Packages, p.flags())
	files, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if f.IsDir() || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", f.Name(), len(b), b)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// Atomically lets fill write into a temporary folder and renames it to dir
// when fill succeeds, so that dir is either whole or absent.
func Atomically(dir string, fill func(tmp string) error) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".tmp-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// tail returns the last n lines of s.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
