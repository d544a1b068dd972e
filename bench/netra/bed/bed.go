// Package bed is the benchmark's test bed: a pod and a client, each a network
// namespace, joined by a veth pair of which no end lies outside.
//
//	b, err := bed.New(ctx, settings, &sidecar)
//	defer b.Close()
//	m, err := b.Measure(ctx, "-rate", "3000", …)
//
//	PREFIX-cli 10.203.0.1, .11 to .18  ──veth──  PREFIX-app 10.203.0.2
//	  client                                       nftables: TCP → sidecar
//	                                               sidecar, as uid 1337
//	                                               app :8080, UDP sink :6831
//
// A bed is made for each measurement and taken down after it, so that no
// connection, port or page of memory of one is found by the next. The redirect
// is what an init container would set up: all TCP that comes in goes to the
// sidecar, and so does what the application dials; the sidecar's own traffic is
// let out.
package bed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Addresses and ports in every bed.
var (
	AppAddr = netip.MustParseAddrPort("10.203.0.2:8080")
	// Sources are further addresses of the client: one address has too few
	// ports for a minute of new connections.
	Sources = slices.Collect(func(yield func(netip.Addr) bool) {
		for i := byte(11); i <= 18 && yield(netip.AddrFrom4([4]byte{10, 203, 0, i})); i++ {
		}
	})
)

const (
	clientAddr  = "10.203.0.1"
	sinkAddr    = "127.0.0.1:6831"
	sidecarUser = 1337
	inPort      = 14956
	outPort     = 14955
)

// Settings are what all beds of a run have in common.
type Settings struct {
	Prefix string // of the namespaces' names
	Dir    string // for configuration and logs; of this run alone
	App    string // the application's program
	Client string // the load generator's
}

// Sidecar is a proxy and how to run it. It listens on port 14956.
type Sidecar struct {
	Name    string
	Command []string
	Env     []string
	Files   map[string]string // written to Settings.Dir
}

// Bed is one test bed.
type Bed struct {
	settings Settings
	pod, cli *namespace
	app      *process
	sidecar  *process // nil: requests go to the application directly
	// Commands are those that were run, as a shell would take them.
	Commands []string
}

// startTimeout is how long a program may take to listen, on a busy machine.
const startTimeout = 20 * time.Second

// New makes a bed. The sidecar listens, and has seen no request, when New
// returns; nil: there is none.
func New(ctx context.Context, s Settings, sidecar *Sidecar) (_ *Bed, err error) {
	b := &Bed{settings: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if b.pod, err = newNamespace(s.Prefix + "-app"); err != nil {
		return nil, err
	}
	if b.cli, err = newNamespace(s.Prefix + "-cli"); err != nil {
		return nil, err
	}
	if err := b.link(); err != nil {
		return nil, err
	}
	command := []string{s.App, "-listen", ":" + fmt.Sprint(AppAddr.Port()), "-sink", sinkAddr}
	if b.app, err = b.start(ctx, "app", int(AppAddr.Port()), command, nil, 0); err != nil {
		return nil, err
	}
	if sidecar == nil {
		return b, nil
	}
	for name, text := range sidecar.Files {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("writing %s's configuration: %w", sidecar.Name, err)
		}
	}
	if b.sidecar, err = b.start(ctx, sidecar.Name, inPort, sidecar.Command, sidecar.Env, sidecarUser); err != nil {
		return nil, err
	}
	return b, b.redirect()
}

// link joins the namespaces.
func (b *Bed) link() error {
	steps := [][]string{{"-n", b.pod.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.cli.name}}
	addresses := []struct{ ns, address string }{{b.pod.name, AppAddr.Addr().String()}, {b.cli.name, clientAddr}}
	for _, a := range Sources {
		addresses = append(addresses, struct{ ns, address string }{b.cli.name, a.String()})
	}
	for _, a := range addresses {
		steps = append(steps, []string{"-n", a.ns, "addr", "add", a.address + "/24", "dev", "eth0"})
	}
	for _, ns := range []string{b.pod.name, b.cli.name} {
		for _, device := range []string{"lo", "eth0"} {
			steps = append(steps, []string{"-n", ns, "link", "set", device, "up"})
		}
	}
	for _, args := range steps {
		if err := ip(args...); err != nil {
			return err
		}
	}
	// The client closes its connections first and so keeps their ports for a
	// minute: it needs all that there are.
	return b.cli.sysctl("net/ipv4/ip_local_port_range", "1024 65535")
}

// Ruleset is the redirect, for nft.
var Ruleset = fmt.Sprintf(`table ip bench {
	chain in {
		type nat hook prerouting priority dstnat
		meta l4proto tcp redirect to :%d
	}
	chain out {
		type nat hook output priority -100
		meta skuid %d return
		oifname "lo" ip daddr 127.0.0.1 return
		meta l4proto tcp redirect to :%d
	}
}
`, inPort, sidecarUser, outPort)

func (b *Bed) redirect() error {
	err := b.pod.do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(Ruleset)
		return output(cmd)
	})
	if err != nil {
		return err
	}
	// Each connection through a sidecar is two in the kernel's table, which
	// keeps them for two minutes after their end: a minute of 3,000 new ones a
	// second would fill it, and what is measured would be the table.
	return b.pod.sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "20")
}

// start starts a program in the pod and waits until it listens.
func (b *Bed) start(ctx context.Context, name string, port int, command, env []string, uid uint32) (*process, error) {
	p, err := b.pod.start(b.settings.Dir, name, command, env, uid)
	if err != nil {
		return nil, err
	}
	b.Commands = append(b.Commands, strings.Join(append(slices.Clone(env), command...), " "))
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if listens(p.pid, port) {
			return p, nil
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("starting %s: it ended: %w\n%s", name, p.err, p.tail())
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s to listen on port %d: %w\n%s", name, port, context.Cause(ctx), p.tail())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Alive returns an error if the sidecar or the application has ended.
func (b *Bed) Alive() error {
	for _, p := range []*process{b.app, b.sidecar} {
		if p == nil {
			continue
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s has ended: %w\n%s", p.name, p.err, p.tail())
		default:
		}
	}
	return nil
}

// Close takes the bed down: all its processes and both namespaces.
func (b *Bed) Close() error {
	var errs []error
	for _, ns := range []*namespace{b.cli, b.pod} {
		if ns != nil {
			errs = append(errs, ns.remove())
		}
	}
	return errors.Join(errs...)
}
