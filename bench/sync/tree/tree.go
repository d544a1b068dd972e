// Package tree makes the directories that the benchmark syncs, changes them,
// and tells whether a copy is equal.
//
//	bytes, err := tree.Make(dir, 10000)
//	text, err := tree.Edited(dir, tree.Name(7), "token")
package tree

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Name is the path of file i: up to 20 a directory, as source trees have them.
func Name(i int) string {
	suffix := []string{"go", "py", "js", "md", "json"}[i%5]
	return fmt.Sprintf("pkg%02d/mod%02d/file%05d.%s", (i/20)%50, (i/1000)%40, i, suffix)
}

// Sizes of files: exponential above the smallest, so 2.4 KB in the mean.
const (
	smallest = 300
	spread   = 2000
	largest  = 60000
)

var words = strings.Fields("func return if else for range import package const var type struct err nil string int map chan defer select switch case break continue async await class def self print open close read write")

// Make makes a directory of n files anew, the same each time, and returns their
// bytes. Their times are in the past, as those of a directory that has been
// there a while.
func Make(dir string, n int) (total int64, err error) {
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	random := rand.New(rand.NewSource(42))
	past := time.Now().Add(-48 * time.Hour).Truncate(time.Second)
	for i := range n {
		text := file(random, i)
		path := filepath.Join(dir, Name(i))
		if i%20 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return 0, err
			}
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return 0, err
		}
		if err := os.Chtimes(path, past, past); err != nil {
			return 0, err
		}
		total += int64(len(text))
	}
	return total, nil
}

func file(random *rand.Rand, i int) []byte {
	size := min(smallest+int(random.ExpFloat64()*spread), largest)
	var b bytes.Buffer
	fmt.Fprintf(&b, "// file %d token=0\n", i)
	for b.Len() < size {
		for range 8 {
			b.WriteString(words[random.Intn(len(words))])
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%x\n", random.Int63())
	}
	return b.Bytes()
}

// Edited returns a file's content with another first line.
func Edited(dir, name, token string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	return append([]byte("// token="+token+"\n"), rest...), nil
}

// Want is a path and what it is to hold.
type Want struct {
	Path string `json:"path"`
	Sum  string `json:"sum"` // hex SHA-256; empty where it is to be gone
}

// WantText is a Want of a file with that content.
func WantText(path string, text []byte) Want {
	sum := sha256.Sum256(text)
	return Want{path, hex.EncodeToString(sum[:])}
}

// Met reports whether the directory has it.
func (w Want) Met(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, w.Path))
	if err != nil || w.Sum == "" {
		return err != nil && w.Sum == ""
	}
	return WantText(w.Path, text) == w
}

// Count returns the number of files; those that cannot be seen do not count.
func Count(dir string) (n int) {
	_ = walk(dir, func(string) error { n++; return nil })
	return n
}

// Sum returns the SHA-256 over the paths and contents of all files.
func Sum(dir string) (string, error) {
	var lines []string
	err := walk(dir, func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		want := WantText(name, text)
		lines = append(lines, want.Path+" "+want.Sum+"\n")
		return err
	})
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:]), err
}

// walk visits the files that a sync carries: not what is git's own.
func walk(dir string, visit func(path string) error) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == ".git":
			return fs.SkipDir
		case entry.Type().IsRegular():
			return visit(path)
		}
		return nil
	})
}
