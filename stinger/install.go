package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// install copies the running program to dir/stinger. Who looks there sees no
// such file, or all of it.
func install(dir string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("installing into %s: %w", dir, err)
		}
	}()
	self := "/proc/self/exe" // the program itself, even if its file was replaced
	if runtime.GOOS != "linux" {
		if self, err = os.Executable(); err != nil {
			return err
		}
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(dir, ".stinger-*")
	if err != nil {
		return err
	}
	defer os.Remove(to.Name()) // no more there after the rename
	_, err = io.Copy(to, from)
	// Executable by whatever user the container runs as, despite any umask.
	if err = errors.Join(err, to.Chmod(0o755), to.Close()); err != nil {
		return err
	}
	return os.Rename(to.Name(), filepath.Join(dir, "stinger"))
}
