package image

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// goEnv is what a Go build in the image is set to, and what the cache in it is
// made with: a cache serves only builds with the same settings.
var goEnv = []string{
	"CGO_ENABLED=0",
	"GOFLAGS=-buildvcs=false",
	"GOTOOLCHAIN=local",
	"GOPROXY=off",
	"GOCACHE=/go/cache",
	"GOPATH=/go",
	"PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}

// warmUp imports what a small service does. Its packages, and theirs, are in
// the image's build cache.
const warmUp = `package main

import (
	_ "bufio"
	_ "bytes"
	_ "context"
	_ "crypto/tls"
	_ "database/sql"
	_ "encoding/base64"
	_ "encoding/json"
	_ "errors"
	_ "expvar"
	_ "flag"
	_ "fmt"
	_ "html/template"
	_ "io"
	_ "log"
	_ "log/slog"
	_ "maps"
	_ "math/rand/v2"
	_ "net"
	_ "net/http"
	_ "net/http/httptest"
	_ "net/http/httputil"
	_ "net/http/pprof"
	_ "net/url"
	_ "os"
	_ "os/exec"
	_ "os/signal"
	_ "path/filepath"
	_ "regexp"
	_ "slices"
	_ "sort"
	_ "strconv"
	_ "strings"
	_ "sync"
	_ "sync/atomic"
	_ "syscall"
	_ "text/template"
	_ "time"
)

func main() {}
`

// layout is part of the cache key, and changes when what is left out does.
const layout = "2"

// golang is this machine's Go, without what only its developers need, and a
// build cache of the standard library.
type golang struct{}

func (golang) Key(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("asking for the version of go: %w", err)
	}
	return strings.TrimSpace(string(out)) + strings.Join(goEnv, " ") + warmUp + layout, nil
}

func (golang) Fill(ctx context.Context, t tarWriter, scratch string) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("asking for GOROOT: %w", err)
	}
	if err := t.tree("usr/local/go", strings.TrimSpace(string(out)), unneeded); err != nil {
		return err
	}
	cache := filepath.Join(scratch, "cache")
	if err := warm(ctx, filepath.Join(scratch, "warm"), cache); err != nil {
		return err
	}
	// Whatever user a pod runs as may build.
	for _, dir := range []string{"go", "go/bin", "go/pkg", "go/src"} {
		if err := t.directory(dir, 0o1777); err != nil {
			return err
		}
	}
	return t.goCache("go/cache", cache)
}

// unneeded tells which part of GOROOT no build reads.
func unneeded(rel string) bool {
	switch rel {
	case "test", "api", "doc", "misc", ".git",
		"src/cmd": // the tools that a build runs are there as binaries
		return true
	}
	return filepath.Base(rel) == "testdata" || strings.HasSuffix(rel, "_test.go")
}

// warm fills the build cache.
func warm(ctx context.Context, dir, cache string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"main.go": warmUp, "go.mod": "module warm\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", os.DevNull, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOEXPERIMENT=")
	for _, e := range goEnv {
		if !strings.HasPrefix(e, "PATH=") && !strings.HasPrefix(e, "GOPATH=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "GOCACHE="+cache)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("filling the build cache: %w\n%s", err, out)
	}
	return nil
}

// far is the time of the cache's files. Go removes from a cache what was last
// used five days ago, and takes a file's time for that.
var far = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// goCache adds a build cache that every user may use. The index entries end in
// the time at which they were made, which is made the same each time.
func (t tarWriter) goCache(name, from string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		to := filepath.Join(name, rel)
		if e.IsDir() {
			return t.directory(to, 0o777)
		}
		if !e.Type().IsRegular() || e.Name() == "trim.txt" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if i := bytes.LastIndexByte(b, ' '); strings.HasSuffix(rel, "-a") && i > 0 {
			b = fmt.Appendf(b[:i+1], "%*d\n", len(b)-i-2, 1)
		}
		return t.bytes(to, b, 0o666, far)
	})
}
