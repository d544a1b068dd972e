package snapshot

import (
	"bytes"
	"path"
	"strings"
)

// Scripts go into a snapshot with LF line ends; all other files go as they are.
// A script with CRLF, as git on Windows checks it out, cannot run in a pod: the
// kernel looks for an interpreter whose name ends in a carriage return, and the
// shell stumbles over the rest.

// isScript reports whether content is a script to the kernel: it starts with
// "#!".
func isScript(content []byte) bool { return bytes.HasPrefix(content, []byte("#!")) }

// ownScript reports whether Stinger runs the file at rel, which need not name
// an interpreter then.
func ownScript(rel string) bool {
	dir, name := path.Split(rel)
	switch strings.TrimSuffix(name, ".sh") {
	case "start", "build", "cleanup":
		return dir == ".fmc/"
	}
	return false
}

// unixLines returns content with LF for each CRLF; it changes content in place.
func unixLines(content []byte) []byte {
	if !bytes.Contains(content, []byte("\r\n")) {
		return content
	}
	out := content[:0]
	for i, c := range content {
		if c != '\r' || i+1 == len(content) || content[i+1] != '\n' {
			out = append(out, c)
		}
	}
	return out
}
