package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/formicarium/formicarium/bench/sync/tree"
)

// rewrite rewrites the files. What they will hold is made before, so that the
// burst is nothing but writes.
func (s *side) rewrite(names []string) func() ([]tree.Want, error) {
	s.edits++
	texts := map[string][]byte{}
	var failed error
	for _, name := range names {
		text, err := tree.Edited(s.dir, name, fmt.Sprintf("%s-%d", s.name, s.edits))
		if err != nil {
			failed = err
		}
		texts[name] = text
	}
	return func() ([]tree.Want, error) {
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(s.dir, name), texts[name], 0o644); err != nil {
				return nil, err
			}
		}
		wants := make([]tree.Want, 0, len(names))
		for name, text := range texts {
			wants = append(wants, tree.WantText(name, text))
		}
		return wants, failed
	}
}

// grown is where burst i puts file j: in one of 41 new directories.
func grown(i, j int) string { return fmt.Sprintf("fresh%d/a%02d/b/f%03d.js", i, j%20, j) }

// grow writes new files in new directories.
func (s *side) grow(i int) func() ([]tree.Want, error) {
	return func() (wants []tree.Want, err error) {
		for j := range burstFiles {
			name := grown(i, j)
			path := filepath.Join(s.dir, name)
			text := fmt.Appendf(nil, "new file %d of burst %d\n", j, i)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return nil, err
			}
			if err := os.WriteFile(path, text, 0o644); err != nil {
				return nil, err
			}
			wants = append(wants, tree.WantText(name, text))
		}
		return wants, nil
	}
}

// shrink removes them again.
func (s *side) shrink(i int) func() ([]tree.Want, error) {
	return func() (wants []tree.Want, err error) {
		if err := os.RemoveAll(filepath.Join(s.dir, fmt.Sprintf("fresh%d", i))); err != nil {
			return nil, err
		}
		for j := range burstFiles {
			wants = append(wants, tree.Want{Path: grown(i, j)})
		}
		return wants, nil
	}
}
