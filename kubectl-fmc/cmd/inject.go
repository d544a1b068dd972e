package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/formicarium/formicarium/kubectl-fmc/workload"
	"github.com/formicarium/formicarium/webhook/inject"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
)

// manifestFiles are the files that a verb rewrites.
type manifestFiles struct {
	*app
	names     []string
	recursive bool
}

func (m *manifestFiles) addFlags(c *cobra.Command) {
	c.Flags().StringArrayVarP(&m.names, "filename", "f", nil, "Manifest, directory of manifests, or - for standard input; may be repeated")
	c.Flags().BoolVarP(&m.recursive, "recursive", "R", false, "Look for manifests further down in directories")
}

func (m *manifestFiles) validate() error {
	if len(m.names) == 0 {
		return errors.New("no manifest: give a file, a directory, or - for standard input, with -f")
	}
	return nil
}

// write prints the manifests, and what became of each workload beside them.
func (m *manifestFiles) write(out []byte, changes []workload.Change) error {
	for _, c := range changes {
		fmt.Fprintf(m.ErrOut, "%s: %s\n", c.Object, c.Text)
		for _, w := range c.Warnings {
			fmt.Fprintf(m.ErrOut, "warning: %s: %s\n", c.Object, w)
		}
	}
	if len(changes) == 0 {
		fmt.Fprintln(m.ErrOut, "no workload: nothing is changed")
	}
	if _, err := m.Out.Write(out); err != nil {
		return fmt.Errorf("writing the manifests: %w", err)
	}
	return nil
}

type injectOptions struct {
	manifestFiles
	value   string
	manual  bool
	native  bool
	install devspace.InstallConfig
}

func newCmdInject(a *app) *cobra.Command {
	o := &injectOptions{manifestFiles: manifestFiles{app: a}}
	c := &cobra.Command{
		Use:   "inject -f FILE|DIR|-",
		Short: "Make the workloads in manifests ask for netra or Stinger",
		Long: `Prints the manifests with the annotation formicarium.io/inject on the pod
template of each workload, of whatever kind; the webhook does the rest when the
pods are created. With --manual all that the webhook would add is written out,
for a cluster without it. Neither asks the cluster.

Documents that are not changed pass byte for byte. In others comments, quotes
and the order of keys stay, blank lines go. A template that says what it wants
keeps that, unless --as is given. What the webhook would say of a pod goes to
standard error. uninject is the reverse.

As a transformer of kustomize (an exec function, or a program in a pipe) it
reads and writes a ResourceList.`,
		Example: `  kubectl fmc inject -f shop.yaml | kubectl apply -f -
  kustomize build . | kubectl fmc inject -f - | kubectl apply -f -
  kubectl fmc inject -f shop/ -R --as enabled > asking.yaml
  kubectl fmc inject -f shop.yaml --manual --registry registry.example/fmc --tag v1`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.complete()
			if err := o.validate(c); err != nil {
				return err
			}
			return o.run(c)
		},
	}
	o.addFlags(c)
	f := c.Flags()
	f.StringVar(&o.value, "as", api.InjectNetra, "What to ask for: "+strings.Join(inject.InjectValues(), ", ")+" (enabled is both; Stinger needs a devspace)")
	f.BoolVar(&o.manual, "manual", false, "Write out what the webhook would add")
	f.StringVar(&o.install.Registry, "registry", "", "With --manual: registry and path of Formicarium's images")
	f.StringVar(&o.install.Tag, "tag", "", "With --manual: tag of the images (default: this plugin's version where that is a release, else dev)")
	f.StringVar(&o.install.PullPolicy, "image-pull-policy", "IfNotPresent", "With --manual: Always, IfNotPresent or Never")
	f.StringVar(&o.install.TracingEndpoint, "tracing-endpoint", devspace.JaegerEndpoint, "With --manual: URL that takes spans")
	f.StringVar(&o.install.RedirectBackend, "redirect-backend", devspace.RedirectBackends[0], "With --manual: "+strings.Join(devspace.RedirectBackends, ", "))
	f.BoolVar(&o.native, "native-sidecar", true, "With --manual: netra as a sidecar of Kubernetes 1.29 and later, else as an ordinary container")
	return c
}

func (o *injectOptions) complete() {
	o.install.Registry = strings.TrimRight(o.install.Registry, "/")
	if o.install.Tag == "" {
		o.install.Tag = defaultTag(version.String())
	}
}

func (o *injectOptions) validate(c *cobra.Command) error {
	faults := []error{o.manifestFiles.validate()}
	if values := inject.InjectValues(); !slices.Contains(values, o.value) {
		faults = append(faults, fmt.Errorf("--as=%q: want one of %s", o.value, strings.Join(values, ", ")))
	}
	if !slices.Contains([]string{"Always", "IfNotPresent", "Never"}, o.install.PullPolicy) {
		faults = append(faults, fmt.Errorf("--image-pull-policy=%q: want Always, IfNotPresent or Never", o.install.PullPolicy))
	}
	if !slices.Contains(devspace.RedirectBackends, o.install.RedirectBackend) {
		faults = append(faults, fmt.Errorf("--redirect-backend=%q: want %s", o.install.RedirectBackend, strings.Join(devspace.RedirectBackends, ", ")))
	}
	faults = append(faults, checkImages(o.install), checkEndpoint(o.install))
	if o.manual && o.install.Registry == "" {
		faults = append(faults, errors.New("--registry is missing: --manual writes image names, so name the registry and path that install was given"))
	}
	for _, name := range []string{"registry", "tag", "image-pull-policy", "tracing-endpoint", "redirect-backend", "native-sidecar"} {
		if !o.manual && c.Flags().Changed(name) {
			faults = append(faults, fmt.Errorf("--%s goes with --manual only: the webhook has settings of its own", name))
		}
	}
	return errors.Join(faults...)
}

func (o *injectOptions) run(c *cobra.Command) error {
	files, err := workload.Read(o.names, o.recursive, o.In)
	if err != nil {
		return err
	}
	options := workload.Options{Value: o.value, Replace: c.Flags().Changed("as"), Namespace: *o.kube.Namespace}
	if o.manual {
		options.Manual = o.settings()
	}
	out, changes, err := workload.Inject(files, options)
	if err != nil {
		return err
	}
	return o.write(out, changes)
}

// settings are those that the webhook of such an installation has.
func (o *injectOptions) settings() *inject.Settings {
	image := func(name string) string { return fmt.Sprintf("%s/%s:%s", o.install.Registry, name, o.install.Tag) }
	s := &inject.Settings{
		Version:    version.String(),
		NetraImage: image("netra"), NetraInitImage: image("netra-init"), StingerImage: image("stinger"),
		NetraInitIPTablesImage: image("netra-init-iptables"), RedirectBackend: o.install.RedirectBackend,
		PullPolicy:     corev1.PullPolicy(o.install.PullPolicy),
		JaegerEndpoint: o.install.TracingEndpoint,
		HubURL:         fmt.Sprintf("https://%s:%d", api.HubName, api.HubServicePort),
		NativeSidecar:  o.native,
	}
	s.NetraResources, s.InitResources = inject.DefaultResources()
	return s
}
