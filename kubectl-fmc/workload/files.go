package workload

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Read reads what the names mean, as kubectl does: "-" is in, a directory is
// its .yaml, .yml and .json files, with those further down where recursive is
// set, in the order of their names.
func Read(names []string, recursive bool, in io.Reader) ([]File, error) {
	var files []File
	for _, name := range names {
		if name == "-" {
			data, err := io.ReadAll(in)
			if err != nil {
				return nil, fmt.Errorf("reading standard input: %w", err)
			}
			files = append(files, File{Name: "standard input", Data: data})
			continue
		}
		paths, err := expand(name, recursive)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("reading the manifest: %w", err)
			}
			files = append(files, File{Name: path, Data: data})
		}
	}
	return files, nil
}

func expand(name string, recursive bool) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	var paths []string
	err = filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != name && !recursive:
			return fs.SkipDir
		case !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(path))):
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading directory %s: %w", name, err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("reading directory %s: it has no .yaml, .yml or .json file (-R looks further down)", name)
	}
	return paths, nil
}
