package cmd_test

import (
	"os"
	"testing"

	"github.com/formicarium/formicarium/internal/run"
	"github.com/formicarium/formicarium/kubectl-fmc/cmd"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"kubectl-fmc": func() { os.Exit(run.Main("kubectl fmc", cmd.Run)) },
	})
}

// The scripts are what a user types; none of them reaches a cluster.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
			e.Setenv("XDG_CACHE_HOME", e.WorkDir+"/cache")
			// Nobody listens on port 1: whatever asks the cluster fails.
			e.Setenv("KUBECONFIG", e.WorkDir+"/kubeconfig")
			return os.WriteFile(e.WorkDir+"/kubeconfig", []byte(kubeconfig), 0o600)
		},
	})
}

const kubeconfig = `
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: test, user: {}}]
`
