package devspace

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// runFile tells the same user's other runs on the same machine that a run goes
// on: it is locked as long as the process lives, however that ends. A lease
// whose run is known here and is over can be taken at once, and a process id
// that was given again does no harm.
type runFile struct{ file *os.File }

// openRun makes the file of a run; directory is what it syncs.
func openRun(dir, run, directory string) (*runFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("recording this run: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, run), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("recording this run: %w", err)
	}
	r := &runFile{file}
	if !tryLock(file) {
		r.close()
		return nil, fmt.Errorf("recording this run: %s cannot be locked", file.Name())
	}
	if _, err := file.WriteString(directory); err != nil {
		r.close()
		return nil, fmt.Errorf("recording this run: %w", err)
	}
	return r, nil
}

func (r *runFile) close() {
	_ = r.file.Close()
	_ = os.Remove(r.file.Name()) // after it: Windows removes no open file
}

// maxPath bounds what is read of a run's file, in bytes.
const maxPath = 32 << 10

// findRun tells whether a run was one of this machine, whether it still goes
// on, and what it syncs.
func findRun(dir, run string) (known, alive bool, directory string) {
	if id, err := hex.DecodeString(run); err != nil || len(id) != 8 {
		return false, false, "" // no run of ours, and perhaps a path
	}
	file, err := os.OpenFile(filepath.Join(dir, run), os.O_RDWR, 0)
	if err != nil {
		return false, false, ""
	}
	defer file.Close() // and unlocks
	text, err := io.ReadAll(io.LimitReader(file, maxPath))
	if err != nil {
		return false, false, ""
	}
	return true, !tryLock(file), string(text)
}

// forgetRun removes what a run left that is over.
func forgetRun(dir, run string) { _ = os.Remove(filepath.Join(dir, run)) }
