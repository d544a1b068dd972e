package pull

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Applied says what the working tree is.
type Applied struct {
	Commit string    `json:"commit"`
	Tree   string    `json:"tree"`
	At     time.Time `json:"at"`
}

// applying is on the disk while the working tree is being changed. As long as
// it is there, files of any of the old trees and of the new one may be in the
// working tree.
type applying struct {
	Old []string `json:"old"`
	New Applied  `json:"new"`
}

// state is what outlives the process, beside the objects.
type state struct {
	dir  string
	lock *os.File
}

// openState opens the directory for this process alone.
func openState(dir string) (*state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	// The kernel lets go of it when the process ends, however it ends.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("locking the state directory %s, which another Stinger may be using: %w", dir, err)
	}
	return &state{dir: dir, lock: lock}, nil
}

func (s *state) close() error { return s.lock.Close() }

func (s *state) appliedPath() string  { return filepath.Join(s.dir, "applied.json") }
func (s *state) applyingPath() string { return filepath.Join(s.dir, "applying.json") }

// load returns what the last process left. Records that cannot be read count
// as not there: then the whole tree is compared and nothing is removed.
func (s *state) load() (Applied, *applying) {
	var done Applied
	if readJSON(s.appliedPath(), &done) != nil {
		done = Applied{}
	}
	var doing applying
	if readJSON(s.applyingPath(), &doing) != nil {
		return done, nil
	}
	return done, &doing
}

func (s *state) begin(a applying) error {
	if err := writeJSON(s.applyingPath(), a); err != nil {
		return fmt.Errorf("recording the change: %w", err)
	}
	return nil
}

// finish records that the working tree is the new one. In this order a crash
// between the two leaves a change that is done twice.
func (s *state) finish(a Applied) error {
	if err := writeJSON(s.appliedPath(), a); err != nil {
		return fmt.Errorf("recording the new tree: %w", err)
	}
	return s.abandon()
}

// abandon records that nothing is being changed.
func (s *state) abandon() error {
	if err := os.Remove(s.applyingPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("recording the end of the change: %w", err)
	}
	return nil
}
