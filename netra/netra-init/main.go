// Netra-init redirects a pod's TCP connections to netra and exits. It runs as
// an init container before everything else in the pod:
//
//	netra-init              apply the redirection
//	netra-init --dry-run    print the rules, change nothing
//	netra-init --check      prove that the redirection is applied and works
//	netra-init --cleanup    remove the redirection
//
// Exit codes: 0 done; 1 the kernel refused, and the message says what is
// missing; 2 a wrong flag or setting; 3 --check could not prove the capture.
//
// Settings, all from the environment; every fault is reported at once:
//
//	INBOUND_INTERCEPT_PORTS       *      destination ports captured: a comma-separated list, or * for all
//	OUTBOUND_INTERCEPT_PORTS      *      the same for connections that the pod makes
//	NETRA_EXCLUDE_INBOUND_PORTS          ports left alone all the same
//	NETRA_EXCLUDE_OUTBOUND_PORTS
//	NETRA_EXCLUDE_CIDRS                  destinations left alone, such as 10.0.0.0/8,fd00::/8
//	NETRA_INBOUND_PROBABILITY     1      share of connections captured, 0 to 1, drawn for each connection
//	NETRA_OUTBOUND_PROBABILITY    1
//	NETRA_PORT                    14956  where netra takes inbound connections
//	NETRA_OUTBOUND_PORT           14955  where netra takes outbound connections
//	NETRA_ADMIN_PORT              14958  where netra serves its metrics
//	NETRA_SIDECAR_USER_ID         1337   the user netra runs as; its connections are left alone
//	NETRA_REDIRECT_BACKEND        auto   nftables, iptables, or auto: nftables unless the kernel lacks it
//
// Never captured: loopback, the pod's traffic to itself, the clouds' metadata
// address (169.254.169.254, fd00:ec2::254), netra's own ports and Formicarium's
// (24000 to 24099).
//
// Applying again replaces what was applied before, by either backend;
// --cleanup removes the rules of both. The change is one transaction by
// nftables, and one for each IP version by iptables. With
// NETRA_REDIRECT_BACKEND=iptables, --dry-run also prints the input of
// iptables-restore and ip6tables-restore.
//
// It needs the capability NET_ADMIN (but for --dry-run). The nftables backend
// needs nothing else. The iptables backend runs iptables-restore,
// iptables-save and their ip6tables counterparts, version 1.8 or later, from
// PATH: iptables-legacy-* first, then those, then iptables-nft-*, whichever the
// kernel speaks. Those of the kind legacy also need NET_RAW. They write no file:
// a read-only root serves. In a pod, the annotation
// formicarium.io/netra-redirect-backend: iptables brings all of it.
package main

import (
	"os"

	"github.com/formicarium/formicarium/internal/run"
)

func main() { os.Exit(run.Main("netra-init", initialise)) }
