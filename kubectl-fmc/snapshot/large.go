package snapshot

import (
	"cmp"
	"slices"
)

// LargeFile is one that a save may be slow for.
type LargeFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"` // in bytes
}

// Sizes from largeSize on are told of, of largeFiles at most: an uplink of 10
// Mbit/s takes 4 s for the smallest.
const (
	largeSize  = 5 << 20
	largeFiles = 3
)

// addLarge adds a file to the largest, if it is one of them.
func addLarge(largest []LargeFile, f LargeFile) []LargeFile {
	if f.Size < largeSize {
		return largest
	}
	largest = append(largest, f)
	slices.SortStableFunc(largest, func(a, b LargeFile) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Path, b.Path))
	})
	return largest[:min(largeFiles, len(largest))]
}
