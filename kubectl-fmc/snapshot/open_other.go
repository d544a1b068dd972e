//go:build !unix

package snapshot

import "os"

func openFile(name string) (*os.File, error) { return os.Open(name) }
