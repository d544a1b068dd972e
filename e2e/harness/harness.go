// Package harness drives Formicarium as its user does, through the real
// kubectl and the built plugin, on the cluster of e2e/cluster or the one that
// FMC_E2E_KUBECONFIG names. The demo and the end-to-end tests share it.
//
//	h, err := harness.Open(ctx, harness.Options{Out: os.Stdout})
//	_, err = h.FMC(ctx, "devspace", "create", "demo")
//	answer, err := h.Get(ctx, "demo", "front", 8080, "/")
package harness

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Options of Open.
type Options struct {
	// Out gets every command line and what it prints; nil means nowhere.
	Out io.Writer
	// Home, where set, keeps the plugin's configuration and cache away from
	// the user's.
	Home string
}

// Harness is a shell of its own: cluster, PATH and the user's settings.
type Harness struct {
	Root       string // the project's root
	Kubeconfig string
	Clients    kubernetes.Interface
	Images     Images
	env        []string
	tools      string // the directory of the cluster's kubectl
	path       string
	out        io.Writer
}

// Images says where the cluster finds Formicarium's images and the example's.
type Images struct {
	Registry, Tag                     string
	Jaeger, Go, Node, Python, Clojure string
}

// Open finds the project, the cluster and the built programs.
func Open(ctx context.Context, o Options) (*Harness, error) {
	root, err := projectRoot()
	if err != nil {
		return nil, err
	}
	h := &Harness{Root: root, out: o.Out}
	if h.out == nil {
		h.out = io.Discard
	}
	if _, err := os.Stat(filepath.Join(root, "bin", "kubectl-fmc")); err != nil {
		return nil, fmt.Errorf("looking for the plugin: %w (run `make build`)", err)
	}
	if err := h.findCluster(ctx); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", h.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", h.Kubeconfig, err)
	}
	config.QPS, config.Burst = 200, 400 // the harness polls; it is no tenant to be fair to
	if h.Clients, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", h.Kubeconfig, err)
	}
	h.findImages()
	h.environ(o.Home)
	return h, nil
}

// projectRoot is the directory of go.mod, above the working directory.
func projectRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the project's root: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// findCluster reads the settings that e2e/cluster prints for a shell.
func (h *Harness) findCluster(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "-C", filepath.Join(h.Root, "e2e", "cluster"), "run", ".", "env")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("asking for the cluster's settings (run `make cluster`): %w\n%s", err, stderr.String())
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		value = strings.NewReplacer(`"`, "", `'`, "").Replace(value)
		switch name {
		case "KUBECONFIG":
			h.Kubeconfig = value
		case "PATH":
			h.tools = strings.TrimSuffix(value, ":$PATH")
		}
	}
	if h.Kubeconfig == "" {
		return fmt.Errorf("asking for the cluster's settings: no KUBECONFIG in %q", out)
	}
	return nil
}

func (h *Harness) findImages() {
	or := func(name, def string) string {
		if v := os.Getenv(name); v != "" {
			return v
		}
		return def
	}
	r, tag := or("FMC_E2E_REGISTRY", "localhost/formicarium"), or("FMC_E2E_TAG", "dev")
	h.Images = Images{
		Registry: r, Tag: tag,
		Jaeger:  or("FMC_E2E_JAEGER_IMAGE", r+"/jaeger:dev"),
		Go:      or("GO_IMAGE", r+"/chamber-go:dev"),
		Node:    or("NODE_IMAGE", r+"/chamber-node:dev"),
		Python:  or("PYTHON_IMAGE", r+"/chamber-python:dev"),
		Clojure: or("CLOJURE_IMAGE", r+"/chamber-clojure:dev"),
	}
}

// environ is scrubbed: what the commands see is written here.
func (h *Harness) environ(home string) {
	h.path = strings.Join([]string{filepath.Join(h.Root, "bin"), h.tools, os.Getenv("PATH")}, string(os.PathListSeparator))
	h.env = []string{
		"PATH=" + h.path,
		"KUBECONFIG=" + h.Kubeconfig,
		"HOME=" + os.Getenv("HOME"),
		"GO_IMAGE=" + h.Images.Go, "NODE_IMAGE=" + h.Images.Node, "PYTHON_IMAGE=" + h.Images.Python,
		"FMC_CHAMBER_GO_IMAGE=" + h.Images.Go, "FMC_CHAMBER_NODE_IMAGE=" + h.Images.Node, "FMC_CHAMBER_PYTHON_IMAGE=" + h.Images.Python,
	}
	if home != "" {
		h.env = append(h.env, "FMC_CONFIG="+filepath.Join(home, "config.json"), "XDG_CACHE_HOME="+filepath.Join(home, "cache"))
	}
}

// Shell returns the lines that put a user's shell where the harness stands.
func (h *Harness) Shell() string {
	return fmt.Sprintf("export KUBECONFIG=%s\nexport PATH=%s:%s:\"$PATH\"", h.Kubeconfig, filepath.Join(h.Root, "bin"), h.tools)
}

// InstallArgs are the arguments of `kubectl fmc install` for the images here.
func (h *Harness) InstallArgs() []string {
	return []string{"install", "--registry", h.Images.Registry, "--tag", h.Images.Tag, "--jaeger-image", h.Images.Jaeger}
}

// FMC runs `kubectl fmc args…` to its end and returns its standard output.
func (h *Harness) FMC(ctx context.Context, args ...string) (string, error) {
	return h.Kubectl(ctx, append([]string{"fmc"}, args...)...)
}

// Kubectl runs kubectl to its end and returns its standard output. Its
// standard error goes into the error.
func (h *Harness) Kubectl(ctx context.Context, args ...string) (string, error) {
	fmt.Fprintf(h.out, "$ kubectl %s\n", strings.Join(args, " "))
	cmd := h.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&stdout, h.out), io.MultiWriter(&stderr, h.out)
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("running kubectl %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// Git runs `kubectl fmc git args…` in a devspace to its end and returns all that
// it prints.
func (h *Harness) Git(ctx context.Context, devspace string, args ...string) (string, error) {
	args = append([]string{"fmc", "git", "-n", devspace, "--"}, args...)
	fmt.Fprintf(h.out, "$ kubectl %s\n", strings.Join(args, " "))
	cmd := h.command(ctx, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out // one writer for both: exec shares one pipe
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("running kubectl %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

func (h *Harness) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.kubectl(), args...)
	cmd.Env = h.env
	cmd.Dir = h.Root
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// kubectl is found on the harness's PATH, not the caller's.
func (h *Harness) kubectl() string {
	for _, dir := range filepath.SplitList(h.path) {
		name := filepath.Join(dir, "kubectl")
		if info, err := os.Stat(name); err == nil && info.Mode()&0o111 != 0 {
			return name
		}
	}
	return "kubectl"
}

// Background is a command that goes on, such as a sync.
type Background struct {
	cmd   *exec.Cmd
	lines chan string
	done  chan error
}

// Start runs `kubectl fmc args…` in the background.
func (h *Harness) Start(ctx context.Context, args ...string) (*Background, error) {
	return h.StartKubectl(ctx, append([]string{"fmc"}, args...)...)
}

// StartKubectl runs `kubectl args…` in the background.
func (h *Harness) StartKubectl(ctx context.Context, args ...string) (*Background, error) {
	fmt.Fprintf(h.out, "$ kubectl %s &\n", strings.Join(args, " "))
	b := &Background{cmd: h.command(ctx, args...), lines: make(chan string, 1000), done: make(chan error, 1)}
	pipe, writer := io.Pipe()
	b.cmd.Stdout, b.cmd.Stderr = writer, writer
	if err := b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting kubectl %s: %w", strings.Join(args, " "), err)
	}
	go func() {
		err := b.cmd.Wait()
		writer.Close()
		b.done <- err
	}()
	go func() {
		defer close(b.lines)
		scanner := bufio.NewScanner(pipe)
		for scanner.Scan() {
			fmt.Fprintf(h.out, "  %s\n", scanner.Text())
			b.lines <- scanner.Text()
		}
	}()
	return b, nil
}

// WaitLine returns the next line that holds one of parts.
func (b *Background) WaitLine(ctx context.Context, parts ...string) (string, error) {
	var seen []string
	for {
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for a line with one of %q: %w; saw:\n%s", parts, ctx.Err(), strings.Join(seen, "\n"))
		case line, open := <-b.lines:
			if !open {
				return "", fmt.Errorf("waiting for a line with one of %q: the command ended; saw:\n%s", parts, strings.Join(seen, "\n"))
			}
			seen = append(seen, line)
			for _, part := range parts {
				if strings.Contains(line, part) {
					return line, nil
				}
			}
		}
	}
}

// Stop interrupts the command, as ^C does, and waits for it.
func (b *Background) Stop() error {
	if err := b.cmd.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("interrupting %s: %w", b.cmd.Path, err)
	}
	go func() {
		for range b.lines {
		}
	}()
	select {
	case err := <-b.done:
		return err
	case <-time.After(20 * time.Second):
		b.cmd.Process.Kill()
		return fmt.Errorf("interrupting %s: it went on for 20 s", b.cmd.Path)
	}
}
