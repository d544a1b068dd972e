package devspace

import (
	"fmt"
	"strings"

	"github.com/formicarium/formicarium/kubectl-fmc/snapshot"
)

// largeText tells which files made a push large, and the way out; "" where none
// did.
func largeText(files []snapshot.LargeFile) string {
	if len(files) == 0 {
		return ""
	}
	named := make([]string, len(files))
	for i, f := range files {
		named[i] = fmt.Sprintf("%s (%s)", snapshot.Printable(f.Path), size(f.Size))
	}
	return "large: " + strings.Join(named, ", ") + "; what no pod needs can be named in .fmcignore"
}
