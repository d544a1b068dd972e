package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Archive is an image in a file that containerd, Docker and the programs
// around them can load.
type Archive struct {
	Path      string
	Reference string
	Digest    string // of the manifest, by which containerd knows the image
}

// writeArchive writes the image as an OCI layout in a tar file, with Docker's
// older manifest.json beside it.
func writeArchive(path, reference string, img v1.Image) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	a := archiver{tar.NewWriter(f)}
	if err := a.image(reference, img); err != nil {
		return err
	}
	if err := a.tar.Close(); err != nil {
		return err
	}
	return f.Close()
}

type archiver struct{ tar *tar.Writer }

func (a archiver) image(reference string, img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	var layerPaths []string
	for _, l := range layers {
		hash, err := l.Digest()
		if err != nil {
			return err
		}
		layerPaths = append(layerPaths, blob(hash))
		if err := a.layer(blob(hash), l); err != nil {
			return err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	configHash, err := img.ConfigName()
	if err != nil {
		return err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	mediaType, err := img.MediaType()
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name    string
		content any
	}{
		{blob(configHash), config},
		{blob(digest), manifest},
		{"oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}},
		{"index.json", v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{{
			MediaType: mediaType, Size: int64(len(manifest)), Digest: digest,
			Platform:    &v1.Platform{OS: "linux", Architecture: "amd64"},
			Annotations: map[string]string{"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference},
		}}}},
		{"manifest.json", []map[string]any{{"Config": blob(configHash), "RepoTags": []string{reference}, "Layers": layerPaths}}},
	} {
		if err := a.file(file.name, file.content); err != nil {
			return err
		}
	}
	return nil
}

func blob(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

func (a archiver) layer(name string, l v1.Layer) error {
	size, err := l.Size()
	if err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	return a.write(name, size, r)
}

// file writes bytes as they are and anything else as JSON.
func (a archiver) file(name string, content any) error {
	b, ok := content.([]byte)
	if !ok {
		var err error
		if b, err = json.Marshal(content); err != nil {
			return err
		}
	}
	return a.write(name, int64(len(b)), bytes.NewReader(b))
}

func (a archiver) write(name string, size int64, r io.Reader) error {
	if err := a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: epoch}); err != nil {
		return err
	}
	_, err := io.Copy(a.tar, r)
	return err
}
