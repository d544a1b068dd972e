package snapshot

import (
	"io/fs"
	"os"
	"path/filepath"
)

// OnOpen calls f with the path of each file that is about to be read; an error
// takes the place of the file.
func (r *Repo) OnOpen(f func(path string) error) {
	r.reader.disk.open = func(name string) (*os.File, error) {
		rel, err := filepath.Rel(r.dir, name)
		if err != nil {
			return nil, err
		}
		if err := f(rel); err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return openFile(name)
	}
}

// AfterLook calls f after each look at a file that is being read, with how many
// there were.
func (r *Repo) AfterLook(f func(looks int)) {
	looks := 0
	r.reader.disk.lstat = func(name string) (fs.FileInfo, error) {
		info, err := os.Lstat(name)
		looks++
		f(looks)
		return info, err
	}
}
