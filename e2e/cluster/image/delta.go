package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
)

// whiteout marks in a layer that a file of a layer beneath is gone.
const whiteout = ".wh."

// writeDelta writes to the file out what the tar file full has that the tar
// file base has not, or has differently, so that images can share base.
func writeDelta(base, full, out string) error {
	gone := map[string][sha256.Size]byte{}
	err := eachEntry(base, func(h *tar.Header, content []byte) error {
		gone[h.Name] = fingerprint(h, content)
		return nil
	})
	if err != nil {
		return err
	}
	_, err = writeLayer(out, func(t tarWriter) error {
		err := eachEntry(full, func(h *tar.Header, content []byte) error {
			below, ok := gone[h.Name]
			delete(gone, h.Name)
			if ok && below == fingerprint(h, content) {
				return nil
			}
			if err := t.WriteHeader(h); err != nil {
				return err
			}
			_, err := t.Write(content)
			return err
		})
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(gone)) {
			name = path.Clean(name)
			if err := t.bytes(path.Join(path.Dir(name), whiteout+path.Base(name)), nil, 0o644, epoch); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// fingerprint covers all of an entry that a container can see.
func fingerprint(h *tar.Header, content []byte) [sha256.Size]byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%c %q %o %d %d %d %d %d\n", h.Typeflag, h.Linkname, h.Mode, h.Uid, h.Gid, h.ModTime.Unix(), h.Devmajor, h.Devminor)
	b.Write(content)
	return sha256.Sum256(b.Bytes())
}

// eachEntry calls f for each entry of the tar file. The largest file of a
// userland has some 50 MB.
func eachEntry(file string, f func(h *tar.Header, content []byte) error) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("reading %s from %s: %w", h.Name, file, err)
		}
		if err := f(h, content); err != nil {
			return err
		}
	}
}
