package proxy

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Listening reports whether anybody in this network namespace listens on a port
// that is not one of own: the application, as long as it lives.
func Listening(own []uint16) bool {
	for _, table := range [...]string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		file, err := os.Open(table)
		if err != nil {
			continue // the kernel may have no IPv6
		}
		found := listens(file, own)
		file.Close()
		if found {
			return true
		}
	}
	return false
}

// stateListen is TCP_LISTEN in the kernel's table.
const stateListen = "0A"

// listens looks for a listening socket in a table of the kernel, whose columns
// are a number, the local address and port, the remote ones, and the state.
func listens(table io.Reader, own []uint16) bool {
	for lines := bufio.NewScanner(table); lines.Scan(); {
		columns := strings.Fields(lines.Text())
		if len(columns) < 4 || columns[3] != stateListen {
			continue
		}
		_, digits, _ := strings.Cut(columns[1], ":")
		if port, err := strconv.ParseUint(digits, 16, 16); err == nil && !slices.Contains(own, uint16(port)) {
			return true
		}
	}
	return false
}
