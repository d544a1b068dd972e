// Package version says which build this is.
package version

import (
	"runtime"
	"runtime/debug"
)

// Version is set by the linker (-X …/internal/version.Version=v1.2.3).
var Version = ""

// String returns the linked version, else the module's, else "devel".
func String() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// Long adds the Go version and platform: "v1.2.3 go1.26.8 linux/amd64".
func Long() string {
	return String() + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
