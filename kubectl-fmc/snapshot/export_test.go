package snapshot

import (
	"os"
	"path/filepath"
)

// OnOpen calls f with the path of each file that is about to be read; an error
// takes the place of the file.
func (r *Repo) OnOpen(f func(path string) error) {
	r.reader.open = func(name string) (*os.File, error) {
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
