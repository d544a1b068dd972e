package ignore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

const (
	// maxRules bounds a file with rules, in bytes: each of its lines is compared
	// with each name. The longest that are in use have some 100 kB.
	maxRules = 1 << 20
	// maxLink bounds git's files that hold one path.
	maxLink = 64 << 10
)

// errLarge is the error for a file that is larger than it may be.
var errLarge = errors.New("it is too large")

// readRules reads a file with rules; one that is not there, or is no regular
// file, has none. As in git, a symbolic link in the directory is not followed.
// One that is too large is an error: without its rules, what they ignore would
// be sent.
func readRules(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if absent(err) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading ignore rules: %w", err)
	}
	text, err := readFile(path, maxRules)
	switch {
	case absent(err):
		return nil, nil
	case errors.Is(err, errLarge):
		return nil, fmt.Errorf("reading ignore rules %q: %w: at most %d bytes; ignore directories in place of the files in them", path, err, maxRules)
	case err != nil:
		return nil, fmt.Errorf("reading ignore rules: %w", err)
	}
	return text, nil
}

// readOutside reads a file with rules that stands outside the directories. As
// in git, where it cannot be read there are none.
func readOutside(path string) ([]byte, error) {
	text, err := readFile(path, maxRules)
	if errors.Is(err, errLarge) {
		return nil, fmt.Errorf("reading ignore rules %q: %w: at most %d bytes", path, err, maxRules)
	}
	return text, nil
}

// readFile reads a regular file of at most limit bytes. It does not wait for
// what is none, such as a named pipe.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, errLarge
	}
	return text, err
}

func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonblocking, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func absent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
