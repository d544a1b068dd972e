package hub

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// readHead returns the id at the hub's branch in the repository at path; empty
// if nothing was pushed yet. It reads git's files itself: a process would cost more
// than all else that a push's end needs.
func readHead(path string) (string, error) {
	const ref = "refs/heads/" + api.HubBranch
	// Twice: a ref that is packed between the two looks is seen in neither.
	for range 2 {
		data, err := os.ReadFile(filepath.Join(path, ref))
		if err == nil {
			if id := strings.TrimSpace(string(data)); isID(id) {
				return id, nil
			}
			return "", fmt.Errorf("reading %s: the file does not hold an object id", ref)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("reading %s: %w", ref, err)
		}
		if id, err := readPackedRef(path, ref); err != nil || id != "" {
			return id, err
		}
	}
	return "", nil
}

// readPackedRef looks in packed-refs: lines of "ID REF", with comments ("#")
// and the ids of peeled tags ("^") between them.
func readPackedRef(path, ref string) (string, error) {
	file, err := os.Open(filepath.Join(path, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading packed refs: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if id, name, _ := strings.Cut(lines.Text(), " "); name == ref && isID(id) {
			return id, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("reading packed refs: %w", err)
	}
	return "", nil
}

// maxRefs bounds a repository's refs: each is a file, and a line of every answer
// to a client that asks what there is. A service has one branch.
const maxRefs = 5000

// AdmitRefs reports whether the repository has room for so many new refs:
// ErrFull if not.
func (h *Hub) AdmitRefs(name string, created int) error {
	path, err := h.Path(name)
	if err != nil || created == 0 {
		return err
	}
	count := created
	err = filepath.WalkDir(filepath.Join(path, "refs"), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			count++
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // deleted meanwhile
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("counting the refs of %q: %w", name, err)
	}
	if count > maxRefs {
		return fmt.Errorf("%w: repository %q may have at most %d refs; delete some first", ErrFull, name, maxRefs)
	}
	return nil
}

// isID tells a full hex object id, of SHA-1 or SHA-256.
func isID(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}
