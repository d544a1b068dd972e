package inject

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/netra/redirect"
)

// The webhook rewrites the probes of those ports that netra-init redirects.
func TestCapturesWhatNetraInitRedirects(t *testing.T) {
	for _, test := range []struct {
		name     string
		settings func(*redirect.Settings)
		values   variables
	}{
		{"defaults", func(*redirect.Settings) {}, nil},
		{"some ports", func(s *redirect.Settings) {
			s.Inbound.AllPorts, s.Inbound.Ports = false, []uint16{80, 8080, 14958, 24000}
		}, variables{api.EnvInboundPorts: {text: "80,8080, 14958,24000"}}},
		{"excluded ports", func(s *redirect.Settings) {
			s.Inbound.ExcludePorts = []uint16{80, 443}
		}, variables{api.EnvExcludeInboundPorts: {text: "80,443"}}},
		{"other ports of netra's", func(s *redirect.Settings) {
			s.InboundPort, s.OutboundPort, s.AdminPort = 15006, 15001, 15020
		}, variables{api.EnvNetraPort: {text: "15006"}, api.EnvNetraOutboundPort: {text: "15001"}, api.EnvNetraAdminPort: {text: "15020"}}},
		{"a share", func(s *redirect.Settings) {
			s.Inbound.Probability = 0.01
		}, variables{api.EnvInboundProbability: {text: "0.01"}}},
		{"nothing", func(s *redirect.Settings) {
			s.Inbound.Probability = 0
		}, variables{api.EnvInboundProbability: {text: "0"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := redirect.Settings{
				InboundPort: api.NetraInboundPort, OutboundPort: api.NetraOutboundPort, AdminPort: api.NetraAdminPort, UID: api.NetraUID,
				Inbound:  redirect.Direction{AllPorts: true, Probability: 1},
				Outbound: redirect.Direction{AllPorts: true, Probability: 1},
			}
			test.settings(&s)
			plan, err := redirect.NewPlan(s)
			if err != nil {
				t.Fatal(err)
			}
			captures := (&injection{values: test.values}).captures()
			for port := 1; port <= 65535; port++ {
				to, _ := plan.Inbound.Decide(redirect.Connection{Destination: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.7"), uint16(port))})
				if got := captures(port); got != (to != 0) {
					t.Errorf("port %d is redirected to %d, and captured: %v", port, to, got)
				}
			}
			for _, port := range []int{-1, 0, 65536, 65536 + 80} {
				if captures(port) {
					t.Errorf("%d is no port, and captured", port)
				}
			}
		})
	}
}

// What the status says is enough to put every probe back.
func TestRewrittenProbesCanBeRestored(t *testing.T) {
	var rewritten int
	inputs(t, func(name string, pod []byte, ns NamespaceInfo, s Settings) {
		r := mustInject(t, pod, ns, s)
		patched := decode(t, apply(t, pod, r))
		var status api.InjectionStatus
		if text := patched.Annotations[api.AnnotationStatus]; text != "" {
			if err := json.Unmarshal([]byte(text), &status); err != nil {
				t.Fatal(err)
			}
		}
		rewritten += len(status.Probes)
		for _, p := range status.Probes {
			probe := probeOf(t, patched, p.Container, p.Kind)
			probe.HTTPGet = nil
			if err := json.Unmarshal(p.TCPSocket, &probe.TCPSocket); err != nil {
				t.Fatalf("%s: reading %s of %s: %v", name, p.Kind, p.Container, err)
			}
		}
		original := decode(t, pod)
		if name == "probes-of-stinger" {
			return // they are of Stinger, which takes no part in what netra is told
		}
		for _, c := range append(original.Spec.InitContainers, original.Spec.Containers...) {
			for _, kind := range []string{api.ProbeLiveness, api.ProbeReadiness, api.ProbeStartup} {
				want, got := probeOf(t, original, c.Name, kind), probeOf(t, patched, c.Name, kind)
				if !equalJSON(t, want, got) {
					t.Errorf("%s: %s of %s is restored to %v, want %v", name, kind, c.Name, got, want)
				}
			}
		}
	})
	if rewritten == 0 {
		t.Error("no pod of testdata has a probe that is rewritten")
	}
}

func decode(t *testing.T, pod []byte) *corev1.Pod {
	t.Helper()
	var p corev1.Pod
	if err := json.Unmarshal(pod, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// probeOf returns a container's probe, nil where it has none of this kind.
func probeOf(t *testing.T, pod *corev1.Pod, container, kind string) *corev1.Probe {
	t.Helper()
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if c.Name == container {
			return map[string]*corev1.Probe{api.ProbeLiveness: c.LivenessProbe, api.ProbeReadiness: c.ReadinessProbe, api.ProbeStartup: c.StartupProbe}[kind]
		}
	}
	t.Fatalf("the pod has no container %s", container)
	return nil
}

const probedPod = `{"metadata":{"name":"web","annotations":{"formicarium.io/inject":"netra"}},"spec":{"containers":[` +
	`{"name":"web","readinessProbe":{"tcpSocket":{"port":8080}}},` +
	`{"name":"own","readinessProbe":{"httpGet":{"path":"/probe/tcp/9090","port":14958}}}]}}`

func TestProbesOfAContainerThatComesLater(t *testing.T) {
	once := apply(t, []byte(probedPod), mustInject(t, []byte(probedPod), NamespaceInfo{}, testSettings()))
	later := strings.Replace(string(once), `"containers":[`, `"containers":[{"name":"late","livenessProbe":{"tcpSocket":{"port":7070}}},`, 1)
	r := mustInject(t, []byte(later), NamespaceInfo{}, testSettings())
	want := `[{"container":"late","kind":"livenessProbe","tcpSocket":{"port":7070}},{"container":"web","kind":"readinessProbe","tcpSocket":{"port":8080}}]`
	if got, _ := json.Marshal(r.Status.Probes); string(got) != want {
		t.Errorf("probes %s, want %s", got, want)
	}
	twice := apply(t, []byte(later), r)
	if get := probeOf(t, decode(t, twice), "late", api.ProbeLiveness).HTTPGet; get == nil || get.Path != "/probe/tcp/7070" {
		t.Errorf("the late container's probe is %v", get)
	}
	if r := mustInject(t, twice, NamespaceInfo{}, testSettings()); len(r.Patch) > 0 {
		t.Errorf("a third patch is not empty: %v", r.Patch)
	}
}

// A netra of another version may not answer for ports.
func TestProbesBesideAnotherVersionsNetra(t *testing.T) {
	once := apply(t, []byte(probedPod), mustInject(t, []byte(probedPod), NamespaceInfo{}, testSettings()))
	later := strings.Replace(string(once), `"containers":[`, `"containers":[{"name":"late","livenessProbe":{"tcpSocket":{"port":7070}}},`, 1)
	newer := testSettings()
	newer.NetraImage = "registry.example/netra:newer"
	if r := mustInject(t, []byte(later), NamespaceInfo{}, newer); len(r.Patch) > 0 {
		t.Errorf("the patch is not empty: %v", r.Patch)
	}
}

// What an annotation says of probes cannot do more than stay there.
func TestForeignRecordsOfProbes(t *testing.T) {
	once := string(apply(t, []byte(probedPod), mustInject(t, []byte(probedPod), NamespaceInfo{}, testSettings())))
	for _, record := range []string{`null`, `{}`, `{"container":"web"}`, `{"container":"none","kind":"livenessProbe","tcpSocket":[1]}`, `{"container":"web","kind":"x"}`} {
		quoted, _ := json.Marshal(record)
		inside := strings.Trim(string(quoted), `"`)
		pod := strings.Replace(once, `\"probes\":[`, fmt.Sprintf(`\"probes\":[%s,`, inside), 1)
		r := mustInject(t, []byte(pod), NamespaceInfo{}, testSettings())
		if len(r.Status.Probes) != 1 || r.Status.Probes[0].Container != "web" || r.Status.Probes[0].Kind != api.ProbeReadiness {
			t.Errorf("with %s the probes are %v", record, r.Status.Probes)
		}
		if again := mustInject(t, apply(t, []byte(pod), r), NamespaceInfo{}, testSettings()); len(again.Patch) > 0 {
			t.Errorf("with %s a second patch is not empty: %v", record, again.Patch)
		}
	}
}
