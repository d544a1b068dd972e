package definition

import (
	"fmt"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/manifests"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestSlipsAreFaults(t *testing.T) {
	for text, want := range map[string]string{
		"start: run\nargs: [--debug]\n":                                                      "fmc.yaml:4: args: has no effect beside start",
		"env:\n  GIT_URL: http://x\n":                                                        "fmc.yaml:4: env: variable GIT_URL is Stinger's",
		"env:\n  A: b\n  STINGER_PORT: \"1\"\n":                                              "fmc.yaml:5: env: variable STINGER_PORT is Stinger's",
		"env: {STINGER_GRACE: 2s}\n":                                                         "set the annotation formicarium.io/stinger-grace",
		"env: {STINGER_BUILD_TIMEOUT: 2h}\n":                                                 "set the annotation formicarium.io/stinger-build-timeout",
		"env: {APP_PATH: /x}\n":                                                              "set appPath",
		"env: {START_AFTER_PULL: \"true\"}\n":                                                "set restart",
		"env: {NETRA_LOGGER_LEVEL: debug}\n":                                                 "set the annotation formicarium.io/netra-logger-level",
		"env: {OUTBOUND_INTERCEPT_PORTS: \"80\"}\n":                                          "set the annotation formicarium.io/outbound-intercept-ports",
		"patches:\n  - kind: Service\n    patch: {op: remove, path: /x}\n":                   "fmc.yaml:4: patches[0].kind: the service has no ports",
		"patches:\n  - kind: ConfigMap\n    patch: {op: remove, path: /x}\n":                 "fmc.yaml:4: patches[0].kind: the service has no scripts",
		"ports:\n  - 8080\n  - {name: a, port: 8080, target: 9}\n":                           "fmc.yaml:5: ports[1]: two ports are 8080/tcp",
		"command: [run]\nports: [{name: a, port: 53}, {name: b, port: 53, protocol: tcp}]\n": "two ports are 53/tcp",
	} {
		_, err := parse(t, "name: orders\nimage: x\n"+text, "")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want one fault with %q", text, err, want)
		}
	}
}

func TestWhatIsNoSlip(t *testing.T) {
	for _, text := range []string{
		"services: {a: {image: x, args: [--debug]}}",
		"services: {a: {image: x, env: {GIT_URL: http://x, STINGER_PORT: \"1\"}}}", // not synced
		"services: {a: {image: x, ports: [{port: 53, name: a}, {port: 53, name: b, protocol: udp}]}}",
		"services: {a: {image: x, ports: [53], patches: [{kind: Service, patch: {op: remove, path: /x}}]}}",
	} {
		if _, err := parse(t, text, ""); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSlipsOfTheOriginalFormat(t *testing.T) {
	_, err := parse(t, `{"name": "a", "containers": [{"name": "a", "image": "x"}],
		"interfaces": [{"name": "b", "container": "a", "port": 80}, {"name": "c", "container": "a", "port": 80}],
		"patches": [{"kind": "ConfigMap", "patch": {"op": "remove", "path": "/x"}}]}`, "")
	for _, want := range []string{"two are 80/tcp", "fmc.yaml:3: patches[0].kind: the service has no scripts"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want one with %q", err, want)
		}
	}
}

// container returns the one of the service's Deployment.
func container(t *testing.T, text string) map[string]any {
	t.Helper()
	d, err := parse(t, text, "")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := d.Services[0].Objects("mine")
	if err != nil {
		t.Fatal(err)
	}
	all, _, _ := unstructured.NestedSlice(objects[len(objects)-1].Object, "spec", "template", "spec", "containers")
	return asMap(all[0])
}

// Where a request is above the devspace's default limit, the API server
// refuses the pod unless it has a limit of its own.
func TestRequestAboveTheDefaultLimit(t *testing.T) {
	for resources, want := range map[string]string{
		"{requests: {memory: 2Gi}}":                           "2Gi",
		"{requests: {memory: 2Gi, cpu: 4}, limits: {cpu: 4}}": "2Gi",
		"{requests: {memory: 2Gi}, limits: {memory: 3Gi}}":    "3Gi",
		"{requests: {memory: 1Gi}}":                           "<nil>",
		"{requests: {cpu: 8}}":                                "<nil>",
	} {
		c := container(t, "name: a\nimage: x\ncommand: [y]\nresources: "+resources)
		if got := fmt.Sprint(asMap(asMap(c["resources"])["limits"])["memory"]); got != want {
			t.Errorf("%s: limit %s, want %s", resources, got, want)
		}
	}
	objects, err := manifests.Devspace(manifests.DevspaceSettings{Name: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if object.GetKind() != "LimitRange" {
			continue
		}
		limits, _, _ := unstructured.NestedSlice(object.Object, "spec", "limits")
		defaults := asMap(asMap(limits[0])["default"])
		if len(defaults) != 1 || defaults["memory"] != DefaultMemoryLimit.String() {
			t.Errorf("a devspace's default limits are %v, want memory %s alone", defaults, &DefaultMemoryLimit)
		}
	}
}

// Server-side apply takes each port of a container once.
func TestTwoPortsToOneTarget(t *testing.T) {
	c := container(t, "name: a\nimage: x\ncommand: [y]\nports: [8080, {name: web, port: 80, target: 8080}]")
	if ports, _ := c["ports"].([]any); len(ports) != 1 {
		t.Errorf("ports = %v, want one", c["ports"])
	}
}
