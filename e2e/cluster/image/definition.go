// Package image builds container images without Docker and loads them into
// containerd without a registry:
//
//	b := image.Builder{Cache: build.Cache{...}, Bin: "bin", Log: os.Stderr}
//	archive, err := b.Build(ctx, definition)
//	store := image.Store{Ctr: ctr, Socket: socket, Log: os.Stderr}
//	err = store.Load(ctx, archive)
//
// The same inputs give the same bytes, so an image that is loaded already is
// known by its digest.
package image

import (
	"cmp"
	"io/fs"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/e2e/cluster/build"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// prefix of every image's name. No registry has that name, so nothing can ever
// be pulled in its place.
const prefix = "localhost/formicarium/"

// Definition says what an image is made of.
type Definition struct {
	Name string
	// Packages are Debian's; with none, the image holds nothing but Files.
	Packages []string
	Files    []File
	Config   v1.Config
	// Extra adds to the image what is more than single files.
	Extra Extra
}

// File is one file of an image.
type File struct {
	Path string // in the image, without the leading slash
	From Source
	Mode fs.FileMode
}

// Source says where a file comes from: one of the project's own programs, or
// one that the cluster's cache holds.
type Source struct {
	Bin     string         // name in the folder of the project's programs
	Program *build.Program // or this program's ...
	Binary  string         // ... binary of this name
}

// Names of the users that the images run as.
const (
	nobody    = "65532:65532"
	netraUser = "1337:1337"
	root      = "0:0"
)

// Pause holds a pod's namespaces; the node needs it to start any.
var Pause = static("pause", nobody, Source{Program: &build.Pause, Binary: "pause"})

// CoreDNS is the cluster's DNS server.
var CoreDNS = static("coredns", nobody, Source{Program: &build.CoreDNS, Binary: "coredns"})

// Own are the images that the node itself needs.
var Own = []Definition{Pause, CoreDNS}

// static is an image of one binary.
func static(name, user string, from Source) Definition {
	return Definition{
		Name:   name,
		Files:  []File{{Path: name, From: from, Mode: 0o755}},
		Config: v1.Config{Entrypoint: []string{"/" + name}, User: user, WorkingDir: "/", Env: []string{searchPath}},
	}
}

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Reference is the image's full name under the tag.
func (d Definition) Reference(tag string) string { return prefix + d.Name + ":" + tag }

// Select returns the definitions of those names or, with no name, all, in their
// order. The second result lists the names that none has.
func Select(all []Definition, names []string) (chosen []Definition, unknown []string) {
	known := map[string]bool{}
	for _, d := range all {
		known[d.Name] = true
		if slices.Contains(names, d.Name) || len(names) == 0 {
			chosen = append(chosen, d)
		}
	}
	for _, n := range names {
		if !known[n] {
			unknown = append(unknown, n)
		}
	}
	return chosen, unknown
}

// Names lists the images' names for a message.
func Names(all []Definition) string {
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	slices.SortFunc(names, cmp.Compare[string])
	return strings.Join(names, " ")
}
