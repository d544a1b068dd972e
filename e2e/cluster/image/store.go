package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// Store is the image store of a running containerd.
type Store struct {
	Ctr    string // path of the program
	Socket string
	Log    io.Writer
}

// Load imports the archives that are not in the store yet.
func (s Store) Load(ctx context.Context, archives ...Archive) error {
	loaded, err := s.list(ctx)
	if err != nil {
		return err
	}
	for _, a := range archives {
		if loaded[a.Reference] == a.Digest {
			fmt.Fprintf(s.Log, "image %s is loaded\n", a.Reference)
			continue
		}
		began := time.Now()
		if _, err := s.ctr(ctx, "images", "import", "--digests=false", a.Path); err != nil {
			return fmt.Errorf("loading %s: %w", a.Reference, err)
		}
		fmt.Fprintf(s.Log, "loaded image %s (%s)\n", a.Reference, time.Since(began).Round(10*time.Millisecond))
	}
	return nil
}

// list maps the names in the store to the digests of their manifests.
func (s Store) list(ctx context.Context) (map[string]string, error) {
	out, err := s.ctr(ctx, "images", "list")
	if err != nil {
		return nil, fmt.Errorf("listing the loaded images: %w", err)
	}
	return parseList(out), nil
}

// parseList reads a table with the columns REF, TYPE, DIGEST and more.
func parseList(table string) map[string]string {
	digests := map[string]string{}
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[2], "sha256:") {
			digests[f[0]] = f[2]
		}
	}
	return digests
}

func (s Store) ctr(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.Ctr, append([]string{"--address", s.Socket, "--namespace", "k8s.io"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running ctr %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}
