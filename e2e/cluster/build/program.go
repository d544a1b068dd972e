// Package build compiles the third-party programs of the cluster into a cache
// outside the repository, each under a key of all that went into it:
//
//	c := build.Cache{Dir: cacheDir, Source: "programs", Log: os.Stderr}
//	dir, err := c.Build(ctx, build.Kubernetes) // dir holds the binaries
//
// A second clone with the same sources starts warm, and a half-finished build
// is never seen.
package build

import "strings"

// Program is a set of binaries built from one Go module below the source
// folder.
type Program struct {
	Name     string   // of the folder that holds its go.mod, and of the cache entry
	Version  string   // as the program shall report it, with the v
	Packages []string // import paths or ./ folders; each becomes a binary
	Vars     []string // -X assignments for the linker
}

// The versions stand in each program's go.mod as well, where they decide what
// is compiled; here they only decide what the programs say of themselves, and
// a test holds the two together.
var (
	Kubernetes = Program{
		Name:     "kubernetes",
		Version:  "v1.36.3",
		Packages: []string{"."},
		Vars: []string{
			"k8s.io/component-base/version.gitVersion=v1.36.3",
			"k8s.io/component-base/version.gitMajor=1",
			"k8s.io/component-base/version.gitMinor=36",
			"k8s.io/component-base/version.gitTreeState=clean",
		},
	}
	Containerd = Program{
		Name:    "containerd",
		Version: "v2.2.1",
		Packages: []string{
			"github.com/containerd/containerd/v2/cmd/containerd",
			"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
			"github.com/containerd/containerd/v2/cmd/ctr",
		},
		Vars: []string{"github.com/containerd/containerd/v2/version.Version=v2.2.1"},
	}
	CoreDNS = Program{
		Name:     "coredns",
		Version:  "v1.14.7",
		Packages: []string{"."},
	}
	Jaeger = Program{
		Name:     "jaeger",
		Version:  "v1.76.0",
		Packages: []string{"github.com/jaegertracing/jaeger/cmd/jaeger"},
	}
	// Pause has no go.mod of its own: it imports the standard library only.
	Pause = Program{
		Name:     "pause",
		Version:  "v1",
		Packages: []string{"."},
	}
)

// Programs are all of them, the longest build first.
var Programs = []Program{Kubernetes, Jaeger, Containerd, CoreDNS, Pause}

// flags are those of `go build`. They make a binary that depends on nothing
// but its sources and the compiler.
func (p Program) flags() []string {
	ld := []string{"-s", "-w"}
	for _, v := range p.Vars {
		ld = append(ld, "-X", v)
	}
	return []string{"-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", strings.Join(ld, " ")}
}
