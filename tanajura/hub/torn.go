package hub

import (
	"bytes"
	"crypto/sha1" // what git's packs and indexes end with
	"fmt"
	"os"
	"path/filepath"
)

// tornSize is the size up to which a pack is looked at: larger ones come from
// git, which syncs them.
const tornSize = 2 << 20

// checkTorn reports a small pack that is not whole. The packs of saves are not
// synced to the disk (package quick), so a machine that lost power may have
// their names without their content.
func checkTorn(path string) error {
	for _, pattern := range []string{"*.pack", "*.idx"} {
		files, _ := filepath.Glob(filepath.Join(path, "objects", "pack", pattern)) // the pattern is good
		for _, file := range files {
			info, err := os.Stat(file)
			if err != nil || info.Size() > tornSize {
				continue
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("reading a pack: %w", err)
			}
			end := len(data) - sha1.Size
			if end < 0 {
				return fmt.Errorf("%s is torn", filepath.Base(file))
			}
			if sum := sha1.Sum(data[:end]); !bytes.Equal(sum[:], data[end:]) {
				return fmt.Errorf("%s is torn", filepath.Base(file))
			}
		}
	}
	return nil
}
