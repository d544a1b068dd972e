// Package devspace does what the plugin's verbs do: it installs Formicarium in
// a cluster, makes devspaces, deploys services into them, keeps them in step
// with directories and tells how they are.
//
//	client, err := devspace.NewClient(config)
//	err = client.Install(ctx, devspace.InstallConfig{…}, progress)
//
// It knows no command line: it takes clients and settings and writes to an
// io.Writer. Everything it reaches in a cluster it reaches through the API
// server, with the rights of the kubeconfig's user.
package devspace

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Client reaches one cluster.
type Client struct {
	Config  *rest.Config
	Kube    kubernetes.Interface
	Dynamic dynamic.Interface
	// Dial gives an HTTP transport whose connections lead to a port of a pod.
	// Tests put a loopback server in its place.
	Dial PodDialer
	// Connect opens one connection to a port of a pod.
	Connect PodConnector
	// Poll is the time between two looks at something that is waited for.
	Poll time.Duration
	// Settle is the time after which a started process is looked at again.
	Settle time.Duration
	// FollowEvery is the time between two looks for logs to follow.
	FollowEvery time.Duration
	// Answer is how long a pod may take to answer a small question.
	Answer time.Duration

	mu         sync.Mutex
	developers map[string]*developer // by devspace
}

// DefaultPoll is short enough not to be felt and asks the API server for a few
// small objects only.
const DefaultPoll = 300 * time.Millisecond

// NewClient returns a Client for the cluster that config names.
func NewClient(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	// The defaults (5 and 10) are for controllers; one person's command may
	// send its few dozen requests at once.
	config.QPS, config.Burst = 50, 100
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	return &Client{
		Config: config, Kube: kube, Dynamic: dyn, Dial: forwardPods(config), Connect: connectPods(config),
		Poll: DefaultPoll, Settle: DefaultSettle, FollowEvery: DefaultFollowEvery, Answer: answerTimeout,
	}, nil
}
