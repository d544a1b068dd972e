// Package command is the harness's command line:
//
//	err := command.Run(ctx, []string{"up"}, os.Getenv, os.Stdout, os.Stderr)
//
// What it knows of the environment is read here, once.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/formicarium/formicarium/e2e/cluster/build"
	"github.com/formicarium/formicarium/e2e/cluster/image"
	"github.com/formicarium/formicarium/e2e/cluster/node"
)

const usage = `A real one-node Kubernetes on this machine.

Usage: go run . COMMAND

  deps                  install the Debian packages that are missing (root)
  build                 build Kubernetes, containerd, CoreDNS and Jaeger into the cache
  up                    bring the cluster up, or say that it is; prints KUBECONFIG=PATH
  down [--purge]        take it down, leave nothing; --purge removes the logs too
  restart DAEMON        stop one of the node's daemons, such as kube-apiserver, and
                        start it again
  status                what runs, and where
  images [NAME...]      build images and load them into the cluster
      --bin DIR         folder of the project's programs
      --tag TAG         tag of the images (dev)
      --save DIR        write archives there instead of loading them
  env                   print shell commands that set KUBECONFIG and PATH

Variables:
  FMC_CACHE_DIR         built programs and images ($XDG_CACHE_HOME/formicarium)
  FMC_CLUSTER_DIR       the cluster's state (/var/lib/formicarium-e2e)
  FMC_E2E_KUBECONFIG    use this cluster instead of bringing one up
`

// harness is one run of a command.
type harness struct {
	settings
	stdout, stderr io.Writer
}

// Run runs the command that args names.
func Run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		_, err := io.WriteString(stdout, usage)
		return err
	}
	commands := map[string]func(*harness, context.Context, []string) error{
		"deps": (*harness).deps, "build": (*harness).build, "up": (*harness).up, "down": (*harness).down,
		"restart": (*harness).restart,
		"status":  (*harness).status, "images": (*harness).images, "env": (*harness).env,
	}
	run, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("no command %q; see help", args[0])
	}
	s, err := settingsFromEnv(getenv)
	if err != nil {
		return err
	}
	return run(&harness{s, stdout, stderr}, ctx, args[1:])
}

// none refuses arguments.
func none(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected arguments: %s", strings.Join(args, " "))
	}
	return nil
}

// settings are what the environment says.
type settings struct {
	cacheDir   string
	stateDir   string
	kubeconfig string // of a cluster that is used as it is; "" for the own one
}

// settingsFromEnv reads and checks the variables, and reports all faults.
func settingsFromEnv(getenv func(string) string) (settings, error) {
	s := settings{
		cacheDir:   getenv("FMC_CACHE_DIR"),
		stateDir:   getenv("FMC_CLUSTER_DIR"),
		kubeconfig: getenv("FMC_E2E_KUBECONFIG"),
	}
	if s.cacheDir == "" {
		base := getenv("XDG_CACHE_HOME")
		if base == "" {
			base = filepath.Join(getenv("HOME"), ".cache")
		}
		s.cacheDir = filepath.Join(base, "formicarium")
	}
	if s.stateDir == "" {
		s.stateDir = "/var/lib/formicarium-e2e"
	}
	var faults []error
	for name, path := range map[string]string{
		"FMC_CACHE_DIR": s.cacheDir, "FMC_CLUSTER_DIR": s.stateDir, "FMC_E2E_KUBECONFIG": s.kubeconfig,
	} {
		if path != "" && !filepath.IsAbs(path) {
			faults = append(faults, fmt.Errorf("%s is %q: want an absolute path", name, path))
		}
	}
	// A path to a Unix socket has room for 107 bytes, of which the longest
	// socket's name below the state folder takes 30.
	if len(s.stateDir) > 77 || strings.ContainsAny(s.stateDir, " \t\n\"'\\") {
		faults = append(faults, fmt.Errorf("FMC_CLUSTER_DIR is %q: want at most 77 characters, without spaces, quotes or backslashes", s.stateDir))
	}
	s.stateDir = filepath.Clean(s.stateDir)
	return s, errors.Join(faults...)
}

// source finds the harness's own folder, from it or from above it.
func source() (string, error) {
	for _, dir := range []string{".", "e2e/cluster"} {
		if _, err := os.Stat(filepath.Join(dir, "programs", "kubernetes", "go.mod")); err == nil {
			return filepath.Abs(dir)
		}
	}
	return "", errors.New("the folder programs is not here: run this program in e2e/cluster or at the top of the repository")
}

// cache is where programs are built.
func (h *harness) cache() (build.Cache, error) {
	dir, err := source()
	return build.Cache{Dir: h.cacheDir, Source: filepath.Join(dir, "programs"), Log: h.stderr}, err
}

// ownTag is that of the images which the node itself runs.
const ownTag = "node"

// layout of the node, without its programs.
func (h *harness) layout() node.Layout {
	return node.Layout{
		Dir:    h.stateDir,
		Images: node.Images{Pause: image.Pause.Reference(ownTag), CoreDNS: image.CoreDNS.Reference(ownTag)},
	}
}

// lock keeps other runs of the program away from the node.
func (h *harness) lock(ctx context.Context) (func(), error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a node takes root: it makes network namespaces, mounts and cgroups")
	}
	return build.Lock(ctx, filepath.Join(h.stateDir, "lock"))
}

func (h *harness) store() image.Store {
	l := h.layout()
	return image.Store{Ctr: filepath.Join(l.Bin(), "ctr"), Socket: l.Socket(), Log: h.stderr}
}
