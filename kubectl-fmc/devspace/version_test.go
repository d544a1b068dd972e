package devspace

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
)

func TestCheckServer(t *testing.T) {
	for minor, refused := range map[string]bool{"29": true, "28+": true, "30": false, "36+": false, "": false} {
		kube := fake.NewClientset()
		discovery, ok := kube.Discovery().(*fakediscovery.FakeDiscovery)
		if !ok {
			t.Fatal("the fake client has another discovery")
		}
		discovery.FakedServerVersion = &version.Info{Major: "1", Minor: minor, GitVersion: "v1." + minor + ".0"}
		err := (&Client{Kube: kube}).checkServer()
		if refused && (err == nil || !strings.Contains(err.Error(), "v1."+minor+".0")) || !refused && err != nil {
			t.Errorf("minor %q: %v, refused should be %v", minor, err, refused)
		}
	}
}
