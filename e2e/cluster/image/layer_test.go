package image

import (
	"archive/tar"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func writeTar(t *testing.T, entries ...tar.Header) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.tar")
	_, err := writeLayer(path, func(tb tarWriter) error {
		for _, h := range entries {
			// The content of a file stands in a field that files do not use.
			content := h.Linkname
			if h.Typeflag == tar.TypeReg {
				h.Size, h.Linkname = int64(len(content)), ""
			}
			if err := tb.WriteHeader(&h); err != nil {
				return err
			}
			if h.Typeflag == tar.TypeReg {
				if _, err := tb.Write([]byte(content)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func file(name, content string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: content, Mode: mode, ModTime: epoch}
}

func TestDelta(t *testing.T) {
	link := tar.Header{Typeflag: tar.TypeSymlink, Name: "./l", Linkname: "a", ModTime: epoch}
	relink := link
	relink.Linkname = "b"
	base := writeTar(t, file("./same", "1", 0o644), file("./edited", "1", 0o644), file("./mode", "1", 0o644), file("./dir/gone", "1", 0o644), link)
	full := writeTar(t, file("./same", "1", 0o644), file("./edited", "2", 0o644), file("./mode", "1", 0o755), file("./new", "1", 0o644), relink)
	out := filepath.Join(t.TempDir(), "delta.tar")
	if err := writeDelta(base, full, out); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err := eachEntry(out, func(h *tar.Header, content []byte) error {
		got[h.Name] = h.Linkname + string(content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"./edited": "2", "./mode": "1", "./new": "1", "./l": "b", "dir/.wh.gone": ""}
	if !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGoCacheLooksAlwaysTheSame(t *testing.T) {
	id, out := strings.Repeat("a", 64), strings.Repeat("b", 64)
	entry := func(when string) string { return "v1 " + id + " " + out + "                   35  " + when + "\n" }
	digest := func(when string) string {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"00/" + id + "-a": entry(when), "00/" + out + "-d": "text " + "with spaces", "trim.txt": when,
		} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(t.TempDir(), "layer.tar")
		l, err := writeLayer(path, func(tb tarWriter) error { return tb.goCache("go/cache", dir) })
		if err != nil {
			t.Fatal(err)
		}
		err = eachEntry(path, func(h *tar.Header, content []byte) error {
			if h.Typeflag == tar.TypeReg && h.ModTime.Before(time.Now().AddDate(10, 0, 0)) {
				t.Errorf("%s would be trimmed: it is of %s", h.Name, h.ModTime)
			}
			if strings.HasSuffix(h.Name, "-a") && len(content) != len(entry(when)) {
				t.Errorf("%s has another length: %q", h.Name, content)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return l.hash.Hex
	}
	if digest("1700000000000000001") != digest("1800000000000000002") {
		t.Error("the layer depends on the time at which the cache was filled")
	}
}

func TestUnneeded(t *testing.T) {
	for path, want := range map[string]bool{
		"test": true, "src/cmd": true, "src/net/http/testdata": true, "src/net/http/serve_test.go": true,
		"src/net/http/server.go": false, "pkg/tool": false, "src/testing": false, ".": false,
	} {
		if got := unneeded(path); got != want {
			t.Errorf("%s: got %v", path, got)
		}
	}
}

func TestParseList(t *testing.T) {
	const table = `REF                              TYPE                                       DIGEST        SIZE    PLATFORMS   LABELS
localhost/formicarium/pause:node application/vnd.oci.image.manifest.v1+json sha256:1234   1.4 MiB linux/amd64 io.cri-containerd.image=managed
`
	got := parseList(table)
	if !maps.Equal(got, map[string]string{"localhost/formicarium/pause:node": "sha256:1234"}) {
		t.Errorf("got %v", got)
	}
}

func TestSelect(t *testing.T) {
	names := func(all []Definition) (out []string) {
		for _, d := range all {
			out = append(out, d.Name)
		}
		return out
	}
	chosen, _ := Select(Catalogue, nil)
	if len(chosen) != len(Catalogue) {
		t.Errorf("with no name: got %q", names(chosen))
	}
	chosen, unknown := Select(Catalogue, []string{"chamber-clojure", "webhook", "nonsense"})
	if !slices.Equal(names(chosen), []string{"webhook", "chamber-clojure"}) || !slices.Equal(unknown, []string{"nonsense"}) {
		t.Errorf("got %q, unknown %q", names(chosen), unknown)
	}
}
