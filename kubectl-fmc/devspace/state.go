package devspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// State is what the plugin keeps on the user's machine: the current devspace of
// each cluster. It is a file of JSON.
type State struct {
	path string
}

// stateFile is its content.
type stateFile struct {
	// Current maps a cluster's key to its current devspace.
	Current map[string]string `json:"current"`
}

// NewState returns the state in the file at path.
func NewState(path string) *State { return &State{path: path} }

// DefaultStatePath is $FMC_CONFIG, else fmc/config.json in the user's
// configuration directory.
func DefaultStatePath(getenv func(string) string) (string, error) {
	if path := getenv("FMC_CONFIG"); path != "" {
		return path, nil
	}
	folder, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding the configuration directory (or set FMC_CONFIG to a file): %w", err)
	}
	return filepath.Join(folder, "fmc", "config.json"), nil
}

// Current returns the current devspace of the cluster, or "".
func (s *State) Current(cluster string) (string, error) {
	file, err := s.read()
	return file.Current[cluster], err
}

// SetCurrent makes devspace the current one of the cluster; "" leaves it
// without.
func (s *State) SetCurrent(cluster, devspace string) error {
	file, err := s.read()
	if err != nil {
		return err
	}
	if file.Current == nil {
		file.Current = map[string]string{}
	}
	if devspace == "" {
		delete(file.Current, cluster)
	} else {
		file.Current[cluster] = devspace
	}
	return s.write(file)
}

func (s *State) read() (stateFile, error) {
	var file stateFile
	text, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	}
	if err != nil {
		return file, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return file, fmt.Errorf("parsing %s (delete it to start anew): %w", s.path, err)
	}
	return file, nil
}

// write replaces the file as a whole, so that a reader never sees half of it.
func (s *State) write(file stateFile) error {
	text, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(s.path), ".config-*")
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	defer os.Remove(temp.Name())
	if _, err := temp.Write(append(text, '\n')); err != nil {
		temp.Close()
		return fmt.Errorf("writing the configuration: %w", err)
	}
	if err := temp.Close(); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	if err := os.Rename(temp.Name(), s.path); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}
