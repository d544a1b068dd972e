package testutil

import (
	"archive/zip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// WriteWheel writes the package greeting for Python's pip to a folder. It is one
// module, greeting.py with that code, and needs nothing from anywhere.
func WriteWheel(t *testing.T, folder, version, code string) {
	t.Helper()
	f, err := os.Create(filepath.Join(folder, "greeting-"+version+"-py3-none-any.whl"))
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(f)
	info := "greeting-" + version + ".dist-info/"
	for _, file := range [][2]string{
		{"greeting.py", code},
		{info + "METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: " + version + "\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", "greeting.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := archive.Create(file[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, file[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
