package pull

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// stageOne writes one file or link under its temporary name.
func (a *applier) stageOne(s *staged) error {
	if err := a.inject("stage", s.path); err != nil {
		return err
	}
	if s.early != "" {
		if a.adopt(s) == nil {
			return nil
		}
		_ = a.root.Remove(s.early) // and it is written as any other
	}
	content, err := a.content(s.hash)
	if err != nil {
		return err
	}
	defer content.Close()
	if s.kind == kindLink {
		target, err := readTarget(content)
		if err != nil {
			return err
		}
		return a.root.Symlink(target, s.temp)
	}
	mode := fs.FileMode(0o644)
	if s.kind == kindExecutable {
		mode = 0o755
	}
	f, err := a.root.OpenFile(s.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return a.outdate(s.temp, s.path)
}

// adopt makes of a file that was written early, as any other, that of its path.
func (a *applier) adopt(s *staged) error {
	info, err := a.root.Lstat(s.early)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", s.early)
	}
	if s.kind == kindExecutable {
		mode := info.Mode().Perm()
		if err := a.root.Chmod(s.early, mode|mode&0o444>>2); err != nil { // for those who may read it
			return err
		}
	}
	if err := a.outdate(s.early, s.path); err != nil {
		return err
	}
	s.temp = s.early
	return nil
}

// outdate makes a new file younger than the one that it takes the place of, and
// by a whole second where they have the same size. Python takes a module of the
// same second and size for the one that it has compiled already, and others do the
// like: the second of two quick saves would start the code of the first.
func (a *applier) outdate(file, path string) error {
	old, err := a.root.Lstat(path)
	if err != nil || !old.Mode().IsRegular() {
		return nil // nothing to be taken for
	}
	info, err := a.root.Lstat(file)
	if err != nil {
		return err
	}
	was, now := old.ModTime(), info.ModTime()
	if now.Unix() > was.Unix() || now.After(was) && old.Size() != info.Size() {
		return nil
	}
	later := was.Add(time.Second)
	_ = a.root.Chtimes(file, later, later) // not every file system has it, and the file is right
	return nil
}

// content returns a blob's content. The store is for one goroutine at a time:
// small content is read at once, with large content the others wait.
func (a *applier) content(hash plumbing.Hash) (io.ReadCloser, error) {
	a.reading.Lock()
	r, err := a.blob(hash)
	if err != nil {
		a.reading.Unlock()
		return nil, err
	}
	head, err := io.ReadAll(io.LimitReader(r, inMemory))
	if err == nil && len(head) == inMemory {
		return &held{Reader: io.MultiReader(bytes.NewReader(head), r), close: func() error {
			defer a.reading.Unlock()
			return r.Close()
		}}, nil
	}
	err = errors.Join(err, r.Close())
	a.reading.Unlock()
	return io.NopCloser(bytes.NewReader(head)), err
}

type held struct {
	io.Reader
	close func() error
}

func (h *held) Close() error { return h.close() }
