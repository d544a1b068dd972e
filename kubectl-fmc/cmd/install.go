package cmd

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/formicarium/formicarium/manifests"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

const defaultJaegerImage = "jaegertracing/jaeger:2.13.0"

type installOptions struct {
	*app
	config  devspace.InstallConfig
	dryRun  string
	issuer  string
	timeout time.Duration
}

func newCmdInstall(a *app) *cobra.Command {
	o := &installOptions{app: a}
	c := &cobra.Command{
		Use:   "install",
		Short: "Install Formicarium in the cluster, or update it",
		Long: `Installs what the devspaces of a cluster share, in namespace fmc-system: the
webhook that adds netra and Stinger to pods that ask for it, and Jaeger for
traces. Waits until the webhook works. Run again, it updates.

The webhook makes and renews its own certificate. --cert-manager leaves that to
cert-manager, which must be in the cluster, and an issuer of its.

No images are published yet: --registry names where you pushed your own (see
«Install it» in the README).`,
		Example: `  kubectl fmc install --registry registry.example/fmc --tag v1
  kubectl fmc install --registry registry.example/fmc --tracing-endpoint http://collector.tracing:14268/api/traces
  kubectl fmc install --registry registry.example/fmc --cert-manager ClusterIssuer/internal
  kubectl fmc install --registry registry.example/fmc --dry-run=client > formicarium.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.complete()
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(c)
		},
	}
	f := c.Flags()
	f.StringVar(&o.config.Registry, "registry", "", "Registry and path of Formicarium's images (required)")
	f.StringVar(&o.config.Tag, "tag", "", "Tag of Formicarium's images (default: this plugin's version where that is a release, else dev)")
	f.StringVar(&o.config.PullPolicy, "image-pull-policy", "IfNotPresent", "Always, IfNotPresent or Never")
	f.StringVar(&o.config.JaegerImage, "jaeger-image", defaultJaegerImage, "Image of the trace store")
	f.StringVar(&o.config.TracingEndpoint, "tracing-endpoint", "", "URL that takes spans (Jaeger's Thrift over HTTP), in place of an own Jaeger")
	f.StringVar(&o.config.RedirectBackend, "redirect-backend", "auto", "How netra-init redirects: auto, nftables, or iptables for nodes without nf_tables")
	f.BoolVar(&o.config.ImagePullSecrets, "image-pull-secrets", false, "Let the webhook get Secrets in all namespaces, for private images that name their own command")
	f.StringVar(&o.issuer, "cert-manager", "", "Issuer of cert-manager that certifies the webhook: Issuer/NAME (in fmc-system) or ClusterIssuer/NAME")
	f.StringVar(&o.dryRun, "dry-run", "none", "none, or client to print the objects only")
	timeFlag(f, &o.timeout, "timeout", 5*time.Minute, "How long to wait; 0 waits for ever")
	return c
}

func (o *installOptions) complete() {
	o.config.Version = version.String()
	if o.config.Tag == "" {
		o.config.Tag = defaultTag(o.config.Version)
	}
}

var (
	release = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	pseudo  = regexp.MustCompile(`\d{14}-[0-9a-f]{12}`)
)

// defaultTag is the tag of the images that belong to a version: its own where
// it was released, else that of images made locally.
func defaultTag(v string) string {
	if release.MatchString(v) && !pseudo.MatchString(v) {
		return v
	}
	return "dev"
}

func (o *installOptions) validate() error {
	var faults []error
	if !slices.Contains([]string{"Always", "IfNotPresent", "Never"}, o.config.PullPolicy) {
		faults = append(faults, fmt.Errorf("--image-pull-policy=%q: want Always, IfNotPresent or Never", o.config.PullPolicy))
	}
	if !slices.Contains([]string{"none", "client"}, o.dryRun) {
		faults = append(faults, fmt.Errorf("--dry-run=%q: want none or client", o.dryRun))
	}
	if !slices.Contains(devspace.RedirectBackends, o.config.RedirectBackend) {
		faults = append(faults, fmt.Errorf("--redirect-backend=%q: want %s", o.config.RedirectBackend, strings.Join(devspace.RedirectBackends, ", ")))
	}
	if o.config.Registry = strings.TrimRight(o.config.Registry, "/"); o.config.Registry == "" {
		faults = append(faults, errors.New("--registry is missing: no images are published yet, so build and push them (see «Install it» in the README) and name the registry and path, such as registry.example/fmc"))
	}
	faults = append(faults, checkImages(o.config), checkEndpoint(o.config))
	if o.issuer != "" {
		kind, name, _ := strings.Cut(o.issuer, "/")
		if kind != "Issuer" && kind != "ClusterIssuer" || len(validation.IsDNS1123Subdomain(name)) > 0 {
			faults = append(faults, fmt.Errorf("--cert-manager=%q: want Issuer/NAME or ClusterIssuer/NAME", o.issuer))
		}
		o.config.CertificateIssuer = &manifests.Issuer{Kind: kind, Name: name}
	}
	return errors.Join(faults...)
}

func (o *installOptions) run(c *cobra.Command) error {
	if o.dryRun == "client" {
		objects, err := devspace.SystemObjects(o.config)
		if err != nil {
			return err
		}
		for _, object := range objects {
			text, err := yaml.Marshal(object.Object)
			if err != nil {
				return fmt.Errorf("encoding YAML: %w", err)
			}
			fmt.Fprintf(o.Out, "---\n%s", text)
		}
		return nil
	}
	client, err := o.client()
	if err != nil {
		return err
	}
	if err := o.announce("installing Formicarium"); err != nil {
		return err
	}
	ctx, cancel := limited(c.Context(), o.timeout)
	defer cancel()
	if err := client.Install(ctx, o.config, o.ErrOut); err != nil {
		return err
	}
	fmt.Fprintln(o.ErrOut, "next: kubectl fmc devspace create NAME")
	return nil
}

// checkImages reports image names that no registry would take.
func checkImages(c devspace.InstallConfig) error {
	if c.Registry == "" {
		return nil // which is a fault of its own
	}
	if _, err := name.NewTag(c.Registry + "/webhook:" + c.Tag); err != nil || strings.Contains(c.Registry, ":/") {
		return fmt.Errorf("--registry=%q, --tag=%q: want a registry and path without a scheme, such as registry.example/fmc, and a tag such as v1.2.3", c.Registry, c.Tag)
	}
	return nil
}

func checkEndpoint(c devspace.InstallConfig) error {
	if c.TracingEndpoint == "" {
		return nil
	}
	if u, err := url.Parse(c.TracingEndpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--tracing-endpoint=%q: want a URL such as http://collector.tracing:14268/api/traces", c.TracingEndpoint)
	}
	return nil
}
