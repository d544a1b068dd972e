package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/e2e/cluster/build"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Builder builds images into the cache.
type Builder struct {
	Cache build.Cache // also of the programs that some images hold
	Bin   string      // folder of the project's own programs
	Tag   string
	Log   io.Writer
}

// Extra adds a whole layer to an image.
type Extra interface {
	// Key changes when the layer would.
	Key(context.Context) (string, error)
	// Fill writes the layer. scratch is a folder that is removed afterwards.
	Fill(ctx context.Context, t tarWriter, scratch string) error
}

// keep is the number of archives of each image that stay in the cache: enough
// for a few clones that take turns.
const keep = 3

// Build returns the archive of the image, after building it if it is not in
// the cache.
func (b Builder) Build(ctx context.Context, d Definition) (Archive, error) {
	a, err := b.build(ctx, d)
	if err != nil {
		return a, fmt.Errorf("building the image %s: %w", d.Name, err)
	}
	return a, nil
}

func (b Builder) build(ctx context.Context, d Definition) (Archive, error) {
	files, err := b.resolve(ctx, d.Files)
	if err != nil {
		return Archive{}, err
	}
	key, err := b.key(ctx, d, files)
	if err != nil {
		return Archive{}, err
	}
	dir := filepath.Join(b.Cache.Dir, "images", d.Name+"-"+key)
	a := Archive{Path: filepath.Join(dir, d.Name+".tar"), Reference: d.Reference(b.Tag)}
	if _, err := os.Stat(filepath.Join(dir, "digest")); errors.Is(err, fs.ErrNotExist) {
		unlock, err := build.Lock(ctx, filepath.Join(b.Cache.Dir, "images.lock"))
		if err != nil {
			return a, err
		}
		defer unlock()
		began := time.Now()
		err = build.Atomically(dir, func(tmp string) error { return b.write(ctx, d, files, tmp) })
		// Another process may have been faster.
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return a, err
		}
		fmt.Fprintf(b.Log, "built image %s in %s\n", d.Name, time.Since(began).Round(10*time.Millisecond))
		b.prune(d.Name, dir)
	}
	digest, err := os.ReadFile(filepath.Join(dir, "digest"))
	if err != nil {
		return a, err
	}
	a.Digest = string(digest)
	return a, nil
}

// resolved is a file of an image, found on this machine.
type resolved struct {
	File
	path string
}

func (b Builder) resolve(ctx context.Context, files []File) ([]resolved, error) {
	var out []resolved
	for _, f := range files {
		r := resolved{File: f, path: filepath.Join(b.Bin, f.From.Bin)}
		if f.From.Program != nil {
			dir, err := b.Cache.Build(ctx, *f.From.Program)
			if err != nil {
				return nil, err
			}
			r.path = filepath.Join(dir, f.From.Binary)
		} else if b.Bin == "" {
			return nil, fmt.Errorf("it holds the project's program %s: name the folder that has it with --bin", f.From.Bin)
		}
		out = append(out, r)
	}
	return out, nil
}

// key is the digest of all that decides how the image comes out.
func (b Builder) key(ctx context.Context, d Definition, files []resolved) (string, error) {
	h := sha256.New()
	config, err := json.Marshal(d.Config)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(h, "%s\n%s\n%s\n", d.Reference(b.Tag), config, userlandKey(d.Packages))
	for _, f := range files {
		fmt.Fprintf(h, "%s %o\n", f.Path, f.Mode)
		if err := hashFile(h, f.path); err != nil {
			return "", err
		}
	}
	if d.Extra != nil {
		extra, err := d.Extra.Key(ctx)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, extra)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func hashFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// write makes the image in the folder tmp.
func (b Builder) write(ctx context.Context, d Definition, files []resolved, tmp string) error {
	scratch := filepath.Join(tmp, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	var layers []*layer
	if len(d.Packages) > 0 {
		paths, err := b.userland(ctx, d.Packages)
		if err != nil {
			return err
		}
		for _, path := range paths {
			l, err := openLayer(path)
			if err != nil {
				return err
			}
			layers = append(layers, l)
		}
	}
	if d.Extra != nil {
		l, err := writeLayer(filepath.Join(scratch, "extra.tar"), func(t tarWriter) error { return d.Extra.Fill(ctx, t, scratch) })
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	bare := len(d.Packages) == 0
	if bare || len(files) > 0 {
		l, err := writeLayer(filepath.Join(scratch, "files.tar"), func(t tarWriter) error { return fill(t, files, bare) })
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	img, err := assemble(d.Config, layers)
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	if err := writeArchive(filepath.Join(tmp, d.Name+".tar"), d.Reference(b.Tag), img); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(tmp, "digest"), []byte(digest.String()), 0o644)
}

// fill writes the files and, where nothing is beneath them, a /tmp.
func fill(t tarWriter, files []resolved, bare bool) error {
	if bare {
		if err := t.directory("tmp", 0o1777); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := t.file(f.Path, f.path, f.Mode); err != nil {
			return err
		}
	}
	return nil
}

func assemble(config v1.Config, layers []*layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range layers {
		var err error
		if img, err = mutate.Append(img, mutate.Addendum{Layer: l, MediaType: types.OCIUncompressedLayer}); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", "amd64"
	file.Created = v1.Time{Time: epoch}
	file.Config = config
	return mutate.ConfigFile(img, file)
}

// prune removes the oldest archives of the image, but never the one in use.
func (b Builder) prune(name, inUse string) {
	all, _ := filepath.Glob(filepath.Join(b.Cache.Dir, "images", name+"-????????????????"))
	age := func(dir string) time.Time {
		info, err := os.Stat(dir)
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	slices.SortFunc(all, func(x, y string) int { return age(y).Compare(age(x)) })
	for i, dir := range all {
		if i >= keep && !strings.EqualFold(dir, inUse) {
			_ = os.RemoveAll(dir)
		}
	}
}
