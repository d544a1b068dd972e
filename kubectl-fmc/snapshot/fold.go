package snapshot

import (
	"os"
	"runtime"
)

// foldsCase is set where file systems usually find a file by a name of another
// case. A path that is there need not be the one that was asked for, then.
var foldsCase = runtime.GOOS == "darwin" || runtime.GOOS == "windows"

// listed reports whether the directory has an entry of exactly that name.
func listed(dir, name string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return true // as Lstat said
	}
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
