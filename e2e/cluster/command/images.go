package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/formicarium/formicarium/e2e/cluster/image"
)

func (h *harness) images(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.SetOutput(h.stderr)
	bin := flags.String("bin", "", "folder of the project's programs")
	tag := flags.String("tag", "dev", "tag of the images")
	save := flags.String("save", "", "write archives to this folder instead of loading them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, unknown := image.Select(image.Catalogue, flags.Args())
	if len(unknown) > 0 {
		return fmt.Errorf("no image %s; there are: %s", strings.Join(unknown, ", "), image.Names(image.Catalogue))
	}
	if h.kubeconfig != "" && *save == "" {
		fmt.Fprintln(h.stderr, "the cluster of FMC_E2E_KUBECONFIG has an image store of its own, and nothing is loaded into it: write the archives with --save DIR, then load each of them there, for instance with `kind load image-archive`, `k3s ctr images import` or `minikube image load`")
		return nil
	}
	if _, err := os.Stat(h.layout().Socket()); err != nil && *save == "" {
		return errors.New("the cluster is not up: run the command up first, or write archives with --save DIR")
	}
	cache, err := h.cache()
	if err != nil {
		return err
	}
	builder := image.Builder{Cache: cache, Bin: *bin, Tag: *tag, Log: h.stderr}
	for _, d := range chosen {
		a, err := builder.Build(ctx, d)
		if err != nil {
			return err
		}
		if *save != "" {
			err = h.save(a, *save)
		} else {
			err = h.store().Load(ctx, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) save(a image.Archive, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	from, err := os.Open(a.Path)
	if err != nil {
		return err
	}
	defer from.Close()
	path := filepath.Join(dir, filepath.Base(a.Path))
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		return fmt.Errorf("saving %s: %w", a.Reference, err)
	}
	fmt.Fprintf(h.stdout, "%s %s\n", path, a.Reference)
	return to.Close()
}

// quote makes s one word of a shell command.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
