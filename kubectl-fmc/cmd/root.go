// Package cmd is the plugin's command line: a file for each verb. A verb turns
// its flags into the settings of package devspace, which does the work.
//
//	err := cmd.Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
//
// Standard output holds what was asked for; progress, warnings and questions go
// to standard error.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubeconfigs name these
	"k8s.io/client-go/rest"
)

// Run runs the plugin with the given arguments.
func Run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	root := NewCmdRoot(genericiooptions.IOStreams{In: os.Stdin, Out: stdout, ErrOut: stderr}, getenv)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// app is what all verbs share.
type app struct {
	genericiooptions.IOStreams
	kube   *genericclioptions.ConfigFlags
	getenv func(string) string
}

// NewCmdRoot returns the command `kubectl fmc`.
func NewCmdRoot(streams genericiooptions.IOStreams, getenv func(string) string) *cobra.Command {
	a := &app{IOStreams: streams, kube: genericclioptions.NewConfigFlags(true), getenv: getenv}
	root := &cobra.Command{
		Use:   "kubectl-fmc",
		Short: "Run services from local directories inside a Kubernetes cluster",
		Long: `Formicarium runs a service straight from a local directory inside a
Kubernetes cluster: each save is running there in well under a second, and
every request between services is seen, without a change to their code.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl fmc"},
		Version:       version.Long(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownVerb,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: see %s --help", err, c.CommandPath())
	})
	a.kube.AddFlags(root.PersistentFlags())
	root.PersistentFlags().Lookup("namespace").Usage = "The devspace, in place of the current one"
	root.AddGroup(&cobra.Group{ID: "cluster", Title: "Cluster:"}, &cobra.Group{ID: "services", Title: "Services:"}, &cobra.Group{ID: "insight", Title: "Insight:"}, &cobra.Group{ID: "injection", Title: "Injection:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("cluster", newCmdInstall(a), newCmdUninstall(a), newCmdDevspace(a), newCmdVersion(a))
	add("services", newCmdDeploy(a), newCmdUndeploy(a), newCmdSync(a), newCmdRestart(a), newCmdGit(a))
	add("insight", newCmdStatus(a), newCmdLogs(a), newCmdGraph(a), newCmdTrace(a))
	add("injection", newCmdInject(a), newCmdUninject(a), newCmdExplain(a), newCmdCheck(a))
	nameUsage(root)
	return root
}

// nameUsage has every verb below c say what it takes where it was given too few
// or too many arguments.
func nameUsage(c *cobra.Command) {
	for _, verb := range c.Commands() {
		if check := verb.Args; check != nil && !verb.HasSubCommands() {
			verb.Args = func(c *cobra.Command, args []string) error {
				if err := check(c, args); err != nil {
					return fmt.Errorf("%w: want %s, see --help", err, c.UseLine())
				}
				return nil
			}
		}
		nameUsage(verb)
	}
}

// timeFlag is a flag that holds a time of 0 or more.
func timeFlag(f *pflag.FlagSet, into *time.Duration, name string, byDefault time.Duration, usage string) {
	*into = byDefault
	f.Var((*notNegative)(into), name, usage)
}

type notNegative time.Duration

func (d *notNegative) String() string { return time.Duration(*d).String() }
func (d *notNegative) Type() string   { return "duration" }

func (d *notNegative) Set(text string) error {
	value, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	if value < 0 {
		return errors.New("want 0 or more")
	}
	*d = notNegative(value)
	return nil
}

// knownVerb refuses what is no verb of c, and tells what may have been meant.
func knownVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	// How many letters may differ; 2 is what Cobra itself takes.
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q: see %s --help", args[0], c.CommandPath())
}

// errNoCluster stands for client-go's own way, which is to try localhost:8080.
var errNoCluster = errors.New("no cluster is known: there is no kubeconfig, or nothing in it: name one with --kubeconfig or KUBECONFIG (kubectl config view shows what kubectl reads)")

// checkKubeconfig reports a kubeconfig that names no cluster.
func (a *app) checkKubeconfig() error {
	raw, err := a.kube.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return err
	}
	if len(raw.Clusters) == 0 && *a.kube.APIServer == "" && a.getenv("KUBERNETES_SERVICE_HOST") == "" {
		return errNoCluster
	}
	return nil
}

// config returns the cluster's settings.
func (a *app) config() (*rest.Config, error) {
	if err := a.checkKubeconfig(); err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config, err := a.kube.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.UserAgent = "kubectl-fmc/" + version.String()
	// What the webhook has to say of a pod comes this way.
	config.WarningHandler = rest.NewWarningWriter(a.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
	return config, nil
}

// client returns a client of the cluster.
func (a *app) client() (*devspace.Client, error) {
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	return devspace.NewClient(config)
}

// cluster is the key under which the current devspace is kept: the context's
// name alone is often the same for several clusters.
func (a *app) cluster() (string, error) {
	context, host, err := a.contextAndHost()
	if err != nil {
		return "", err
	}
	return context + " " + host, nil
}

func (a *app) contextAndHost() (context, host string, err error) {
	raw, err := a.kube.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return "", "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	name := raw.CurrentContext
	if a.kube.Context != nil && *a.kube.Context != "" {
		name = *a.kube.Context
	}
	config, err := a.config()
	if err != nil {
		return "", "", err
	}
	return name, config.Host, nil
}

func (a *app) state() (*devspace.State, error) {
	path, err := devspace.DefaultStatePath(a.getenv)
	if err != nil {
		return nil, err
	}
	return devspace.NewState(path), nil
}

// current returns the current devspace, or "".
func (a *app) current() (string, error) {
	cluster, err := a.cluster()
	if err != nil {
		return "", err
	}
	state, err := a.state()
	if err != nil {
		return "", err
	}
	return state.Current(cluster)
}

// setCurrent makes name the current devspace.
func (a *app) setCurrent(name string) error {
	cluster, err := a.cluster()
	if err != nil {
		return err
	}
	state, err := a.state()
	if err != nil {
		return err
	}
	return state.SetCurrent(cluster, name)
}

var errNoDevspace = errors.New("no devspace is selected: create one with kubectl fmc devspace create NAME, select one with kubectl fmc devspace use NAME, or name one with -n")

// devspace returns the devspace that a verb works in and makes sure that it is
// one.
func (a *app) devspace(ctx context.Context, client *devspace.Client) (string, error) {
	name := *a.kube.Namespace
	if name == "" {
		var err error
		if name, err = a.current(); err != nil {
			return "", err
		}
	}
	if name == "" {
		return "", errNoDevspace
	}
	found, err := client.GetDevspace(ctx, name)
	switch {
	case apierrors.IsForbidden(err):
		// Who may work in a namespace need not be allowed to look at it.
		return name, nil
	case err != nil:
		return "", err
	case found.Phase == "Terminating":
		return "", fmt.Errorf("devspace %s is being deleted: use another, or wait with kubectl fmc devspace delete %s --yes", name, name)
	}
	return name, nil
}

// open returns a client and the devspace to work in.
func (a *app) open(ctx context.Context) (*devspace.Client, string, error) {
	client, err := a.client()
	if err != nil {
		return nil, "", err
	}
	name, err := a.devspace(ctx, client)
	return client, name, err
}

// limited ends ctx after the verb's --timeout; 0 leaves it as it is.
func limited(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
