// Stinger runs a service in a dev container and keeps its code equal to a
// branch on a git hub.
//
//	stinger run [-- command args…]   pull, build, start, and listen for more
//	stinger install DIR              copy this program to DIR/stinger
//	stinger version
//
// As process 1 it reaps what the service leaves behind; the service has a
// process group of its own, which is stopped whole. The service is started by
// STINGER_SCRIPTS/start, else APP_PATH/.fmc/start, else the command, in
// APP_PATH; scripts named build, cleanup and reload are found in the same way, and
// each name may end in .sh. It runs outside Kubernetes as well:
//
//	GIT_URL=http://127.0.0.1:3002/x.git APP_PATH=/tmp/app stinger run -- ./server
//
// The environment of "run":
//
//	APP_PATH          the service's directory (/app); made if it is not there
//	GIT_URL           the repository, http or https; required. Of a devspace's
//	                  hub (tanajura, or a name that begins with tanajura.) it is
//	                  https, whatever it says
//	STINGER_SCRIPTS   where the scripts are (/scripts)
//	START_AFTER_PULL  true or false (false): restart when a pull changed
//	                  something and its request does not say whether to
//	STINGER_RELOAD    rules of what a change does, in JSON; see below
//	STINGER_LISTEN    ports to listen on for the service, such as
//	                  8080,admin=9090; see below
//	STINGER_WAIT_FOR_CODE  true or false (true): false runs the command from
//	                  the first, until there is code; see below
//	STINGER_PORT      where the API listens (24000; 0 for any, which is logged)
//	STINGER_BIND      on which address (all in a pod, else 127.0.0.1)
//	STINGER_AUTH      devspace or none (devspace in a pod, else none): who may
//	                  give orders, see below; none is for loopback addresses
//	STINGER_IDENTITY  the directory with the pod's token and the devspace's
//	                  ca.crt (/fmc/identity)
//	STINGER_GRACE     how long a process group has from the signal to the kill
//	                  (10s)
//	STINGER_BUILD_TIMEOUT  how long a build may take (1h)
//	STINGER_STATE     a directory for the object store and records, outside
//	                  APP_PATH and for one Stinger only (/fmc/state where that
//	                  can be written to, else .NAME.stinger beside APP_PATH)
//
// An application may have variables of some of these names for itself:
// STINGER_APP_PATH, STINGER_GIT_URL and STINGER_START_AFTER_PULL go before those
// without STINGER_, and are what the webhook sets in containers that are not there
// for their code.
//
// With STINGER_AUTH=devspace the API is served by TLS, and only the hub and
// developers of the pod's devspace, with certificates of its authority, are
// answered; anybody is by GET /health and /ready. The pod's token goes to the hub
// alone. With none the API is plain HTTP and answers everybody who reaches it. See
// package credential.
//
// STINGER_RELOAD says what is done when certain paths change (package
// internal/reload): build and restart, restart, reload, send a signal, or nothing.
// Other paths are for START_AFTER_PULL.
//
//	[{"paths": ["requirements.txt"], "do": "build"},
//	 {"paths": ["templates/**", "*.css"], "do": "nothing"},
//	 {"paths": ["*.clj"], "do": "reload"},
//	 {"paths": ["conf/*.yaml"], "do": "signal", "signal": "HUP"}]
//
// To reload is to run the script reload, with FMC_PID, while the service goes on.
// The signal is sent to the service's first process, as it is the one that knows
// what its workers should do: a start script has to exec it.
//
// The ports of STINGER_LISTEN are opened at the first start, on STINGER_BIND, and
// given to each run of the service as systemd gives sockets (LISTEN_FDS,
// LISTEN_FDNAMES, LISTEN_PID; from file descriptor 3 on): while it is started
// again, connections wait and none is refused. A stop by request closes them. The
// service must take them, and not listen on those ports itself.
//
// Signals: SIGTERM, SIGINT and SIGQUIT, each of which some image names as its
// stop signal, are sent on to the whole group, and Stinger ends with 0 when the
// group is gone; a second one kills the group. SIGHUP, SIGUSR1, SIGUSR2 and
// SIGWINCH are sent on to the service's first process.
//
// A service that ends by itself is started again after a while, whatever its
// exit code; see package supervise.
//
// With STINGER_WAIT_FOR_CODE=false the container has a purpose without the hub,
// and the command is what it would have run without Stinger. It runs until
// there is code, as it would have: in the working directory that Stinger has,
// at once where the hub has no code or is not there, after three seconds where
// the hub does not say. Its exit code is Stinger's (128 and the number, of a
// signal), what it left running is killed, and its end by SIGTERM takes the
// time that it takes. Where Stinger cannot work (settings at fault, a port in
// use, a directory that cannot be written to) the command takes its place. Once
// there is code, in this container or an earlier one of the pod, all is as above.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/internal/version"
	"github.com/formicarium/formicarium/stinger/supervise"
)

func main() {
	// Not run.Main: it ends the process at a signal that this one passes on.
	os.Exit(run.ExitCode("stinger", stinger(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr), os.Stderr))
}

const usage = `usage: stinger run [-- command args…]
       stinger install DIR
       stinger version`

func stinger(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch {
	case verb == "run" && len(args) == 0:
		return runService(ctx, nil, getenv, stderr)
	case verb == "run" && args[0] == "--":
		return runService(ctx, args[1:], getenv, stderr)
	case verb == supervise.VerbHandOver: // this program's own, see package supervise
		return &run.ExitError{Code: 126, Err: supervise.HandOver(args)}
	case verb == "install" && len(args) == 1:
		return install(args[0])
	case verb == "version" && len(args) == 0, verb == "--version" && len(args) == 0:
		_, err := fmt.Fprintln(stdout, "stinger", version.Long())
		return err
	case verb == "help", verb == "--help", verb == "-h":
		_, err := fmt.Fprintln(stdout, usage)
		return err
	}
	return &run.ExitError{Code: 2, Err: fmt.Errorf("what to do is unclear\n%s", usage)}
}
