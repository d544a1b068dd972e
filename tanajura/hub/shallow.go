package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
)

// cutHistory makes the keepCommits-th commit from the branch's tip the oldest
// one of the repository, by making the repository shallow there. It reports
// whether there was anything to cut.
func (h *Hub) cutHistory(ctx context.Context, path string) (bool, error) {
	if tip, err := readHead(path); err != nil || tip == "" {
		return false, err
	}
	out, err := h.git(ctx, path, "rev-list", "--first-parent", "--parents",
		fmt.Sprintf("--max-count=%d", keepCommits), "refs/heads/"+api.HubBranch)
	if err != nil {
		return false, err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	oldest, parents, _ := strings.Cut(lines[len(lines)-1], " ")
	if len(lines) < keepCommits || parents == "" {
		return false, nil
	}
	// Earlier boundaries stay: other branches may end there. git drops those
	// that nothing reaches.
	boundaries, err := os.ReadFile(filepath.Join(path, "shallow"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cutting history: %w", err)
	}
	// git's own way of replacing the file: its processes take the same lock.
	lock := filepath.Join(path, "shallow.lock")
	file, err := os.OpenFile(lock, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, fmt.Errorf("cutting history: %w", err)
	}
	_, err = file.Write(append(boundaries, oldest+"\n"...))
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(lock, filepath.Join(path, "shallow"))
	}
	if err != nil {
		os.Remove(lock)
		return false, fmt.Errorf("cutting history: %w", err)
	}
	return true, nil
}
