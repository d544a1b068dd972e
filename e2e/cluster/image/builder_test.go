package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/e2e/cluster/build"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// builder has a folder with one program, and a cache of its own.
func builder(t *testing.T) Builder {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "tool"), []byte("binary"), 0o755); err != nil {
		t.Fatal(err)
	}
	return Builder{Cache: build.Cache{Dir: t.TempDir(), Log: io.Discard}, Bin: bin, Tag: "dev", Log: io.Discard}
}

var tool = static("tool", nobody, Source{Bin: "tool"})

func TestImageIsReproducible(t *testing.T) {
	b := builder(t)
	first, err := b.Build(t.Context(), tool)
	if err != nil {
		t.Fatal(err)
	}
	b.Cache.Dir = t.TempDir()
	second, err := b.Build(t.Context(), tool)
	if err != nil {
		t.Fatal(err)
	}
	if first.Digest != second.Digest || !strings.HasPrefix(first.Digest, "sha256:") {
		t.Errorf("got the digests %s and %s", first.Digest, second.Digest)
	}
	if err := os.WriteFile(filepath.Join(b.Bin, "tool"), []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	third, err := b.Build(t.Context(), tool)
	if err != nil {
		t.Fatal(err)
	}
	if third.Digest == first.Digest || third.Path == second.Path {
		t.Error("an image of another binary is taken for the same")
	}
}

func TestArchive(t *testing.T) {
	a, err := builder(t).Build(t.Context(), tool)
	if err != nil {
		t.Fatal(err)
	}
	if want := "localhost/formicarium/tool:dev"; a.Reference != want {
		t.Errorf("reference: got %s, want %s", a.Reference, want)
	}
	// As containerd finds it.
	var index v1.IndexManifest
	err = eachEntry(a.Path, func(h *tar.Header, content []byte) error {
		if h.Name == "index.json" {
			return json.Unmarshal(content, &index)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].Digest.String() != a.Digest ||
		index.Manifests[0].Annotations["io.containerd.image.name"] != a.Reference {
		t.Errorf("index.json: got %+v", index)
	}
	// As Docker finds it.
	img, err := tarball.ImageFromPath(a.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/tool" || config.Architecture != "amd64" || config.OS != "linux" {
		t.Errorf("config: got %+v", config)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("got %d layers (%v)", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	modes := map[string]int64{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		modes[h.Name] = h.Mode
	}
	if modes["tool"] != 0o755 || modes["tmp/"] != 0o1777 {
		t.Errorf("modes: got %v", modes)
	}
}

func TestMissingPrograms(t *testing.T) {
	b := builder(t)
	b.Bin = ""
	if _, err := b.Build(t.Context(), tool); err == nil || !strings.Contains(err.Error(), "--bin") {
		t.Errorf("without a folder: got %v", err)
	}
	b.Bin = t.TempDir()
	if _, err := b.Build(t.Context(), tool); err == nil || !strings.Contains(err.Error(), "tool") {
		t.Errorf("with an empty folder: got %v", err)
	}
}

func TestPruneKeepsTheNewest(t *testing.T) {
	b := builder(t)
	var last Archive
	for _, content := range []string{"1", "2", "3", "4", "5"} {
		if err := os.WriteFile(filepath.Join(b.Bin, "tool"), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if last, err = b.Build(t.Context(), tool); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(b.Cache.Dir, "images", "*"))
	if err != nil || len(left) > keep+1 {
		t.Errorf("left: %q (%v)", left, err)
	}
	if _, err := os.Stat(last.Path); err != nil {
		t.Error("the image in use was removed")
	}
}
