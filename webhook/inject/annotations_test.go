package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/env"
	"github.com/formicarium/formicarium/internal/sidecar"
)

// pod returns a pod that asks for both parts, with more annotations.
func podWith(t testing.TB, annotations map[string]string) []byte {
	t.Helper()
	pod := corev1.Pod{}
	pod.Name = "web"
	pod.Annotations = map[string]string{api.AnnotationInject: api.InjectEnabled}
	for name, text := range annotations {
		pod.Annotations[api.Domain+"/"+name] = text
	}
	pod.Spec.Containers = []corev1.Container{{Name: "web", Image: "registry.example/web:1", Command: []string{"/web"}}}
	data, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// injected returns the pod with those annotations after injection.
func injected(t testing.TB, annotations map[string]string) (corev1.Pod, Result) {
	t.Helper()
	in := podWith(t, annotations)
	r := mustInject(t, in, NamespaceInfo{Name: "shop"}, testSettings())
	var pod corev1.Pod
	if err := json.Unmarshal(apply(t, in, r), &pod); err != nil {
		t.Fatal(err)
	}
	return pod, r
}

// environment returns a container's variables as its program reads them: with
// $$ as $, which is what the kubelet makes of it.
func environment(t testing.TB, pod corev1.Pod, name string) map[string]string {
	t.Helper()
	set := map[string]string{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name != name {
			continue
		}
		for _, v := range c.Env {
			set[v.Name] = strings.ReplaceAll(v.Value, "$$", "$")
		}
		return set
	}
	t.Fatalf("there is no container %s", name)
	return nil
}

// rows returns the rows of the tables below a heading of a document: the
// texts in backquotes of each cell.
func rows(t testing.TB, file, heading string) (table [][][]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no heading %q", file, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	quoted := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		var row [][]string
		for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), " | ") {
			var words []string
			for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
				words = append(words, m[1])
			}
			row = append(row, words)
		}
		table = append(table, row)
	}
	if len(table) == 0 {
		t.Fatalf("%s has no table below %q", file, heading)
	}
	return table
}

// beside are annotations without which another one has no effect.
var beside = map[string]map[string]string{
	"jaeger-user":                       {"jaeger-password": "secret"},
	"jaeger-password":                   {"jaeger-user": "ann"},
	"jaeger-sampler-param":              {"jaeger-sampler-type": "probabilistic"},
	"netra-http-routing-cookie-enabled": {"netra-http-routing-enabled": "true"},
	"otel-traces-sampler-arg":           {"otel-traces-sampler": "traceidratio"},
}

// Each example of the document reaches the container that it is for, without a
// warning, and the document has every annotation.
func TestReadmeHasEveryAnnotation(t *testing.T) {
	documented := map[string]bool{}
	for _, row := range rows(t, "../README.md", "## Annotations") {
		if len(row) != 3 || len(row[0]) != 1 || len(row[1]) != 1 {
			t.Errorf("a row is not annotation, example, meaning: %q", row)
			continue
		}
		name, example := row[0][0], row[1][0]
		documented[name] = true
		s, ok := known[name]
		if !ok {
			if !slices.Contains(others, api.Domain+"/"+name) {
				t.Errorf("README.md has %s, which is no annotation", name)
			}
			continue
		}
		t.Run(name, func(t *testing.T) { reaches(t, name, example, s) })
	}
	for _, name := range names() {
		written := []string{api.AnnotationStatus, api.AnnotationDefinition, api.AnnotationInstallation} // by the programs
		if !documented[name] && !slices.Contains(written, api.Domain+"/"+name) {
			t.Errorf("README.md lacks %s", name)
		}
	}
}

func reaches(t *testing.T, name, example string, s setting) {
	annotations := map[string]string{name: example}
	maps.Copy(annotations, beside[name])
	if strings.HasPrefix(name, "otel-exporter-otlp-") || strings.HasPrefix(name, "otel-bsp-") || strings.HasPrefix(name, "otel-traces-sampler") {
		annotations["otel-traces-exporter"] = "otlp"
	}
	pod, r := injected(t, annotations)
	if len(r.Warnings) > 0 {
		t.Errorf("the example %q is warned of: %q", example, r.Warnings)
	}
	for to, container := range map[target]string{toInit: api.ContainerNetraInit, toNetra: api.ContainerNetra, toStinger: "web"} {
		variable := s.env
		if s.to == toStinger && slices.Contains(api.SharedStingerVariables, variable) {
			variable = api.StingerOwn(variable) // the pod is not there for its code
		}
		if got, there := environment(t, pod, container)[variable]; s.to&to != 0 && got != example {
			t.Errorf("%s has %s=%q, want %q", container, s.env, got, example)
		} else if s.to&to == 0 && there {
			t.Errorf("%s has %s", container, s.env)
		}
	}
	if plain, _ := injected(t, nil); s.to == toPod {
		a, _ := json.Marshal(pod.Spec.InitContainers)
		b, _ := json.Marshal(plain.Spec.InitContainers)
		if string(a) == string(b) {
			t.Error("it changes nothing in the containers")
		}
	}
}

// Each variable in netra's own document has an annotation, or a reason why not.
func TestEveryVariableOfNetraHasAnAnnotation(t *testing.T) {
	list := map[string]bool{}
	for _, heading := range []string{"## netra", "## netra-init"} {
		to := map[string]target{"## netra": toNetra, "## netra-init": toInit}[heading]
		for _, row := range rows(t, "../../netra/README.md", heading) {
			for _, name := range row[0] {
				list[name] = true
				s, ok := known[key(name)]
				reason := notSettable[key(name)]
				switch {
				case ok == (reason != ""):
					t.Errorf("%s has an annotation: %v; and a reason why not: %q", name, ok, reason)
				case ok && (s.env != name || s.to&to == 0):
					t.Errorf("annotation %s is for %s of %v", key(name), s.env, s.to)
				}
				if rest, otlp := strings.CutPrefix(name, "OTEL_EXPORTER_OTLP_"); otlp {
					list["OTEL_EXPORTER_OTLP_TRACES_"+rest] = true
				}
			}
		}
	}
	if len(list) < 70 {
		t.Errorf("only %d variables were found", len(list))
	}
	for _, s := range known {
		if s.to&(toNetra|toInit) != 0 && !list[s.env] {
			t.Errorf("%s is not in netra's README.md", s.env)
		}
	}
}

// Stinger's variables are those of internal/api and one of its own.
func TestEveryVariableOfStingerHasAnAnnotation(t *testing.T) {
	for _, name := range []string{api.EnvAppPath, api.EnvStingerScripts, api.EnvGitURL, api.EnvStartAfterPull, api.EnvStingerPort, api.EnvStingerGrace, api.EnvStingerState, api.EnvStingerAuth, api.EnvStingerIdentity, api.EnvStingerReload, api.EnvStingerListen, api.EnvStingerBuildTimeout, "STINGER_BIND"} {
		_, ok := known[key(name)]
		if reason := notSettable[key(name)]; ok == (reason != "") {
			t.Errorf("%s has an annotation: %v; and a reason why not: %q", name, ok, reason)
		}
	}
}

// faulty are a value for each annotation that no program would take, or that
// does not go together with the rest.
var faulty = map[string]string{
	"inbound-intercept-ports": "http", "outbound-intercept-ports": "0", "netra-exclude-inbound-ports": "*", "netra-exclude-outbound-ports": "70000",
	"netra-exclude-cidrs": "10.0.0.0/33", "netra-inbound-probability": "50%", "netra-outbound-probability": "NaN", "netra-redirect-backend": "nft",
	"netra-port": "24000", "netra-outbound-port": "14956", "netra-admin-port": "443", "netra-pprof-port": "14958",
	"netra-logger-level": "loud", "netra-drain-timeout": "10", "netra-http-ports": "http", "netra-propagation": "zipkin",
	"netra-http-request-id-header-name": "X Id", "netra-http-x-source-header-name": "X:Y", "netra-http-x-source-value": "a\r\nb",
	"netra-tracing-context-expiration-milliseconds": "5s", "netra-tracing-context-cleanup-interval": "0", "netra-tracing-inference": "on",
	"netra-http-tracing-ignored-paths": "/a\x00", "http-header-tag-map": "X-Tenant", "http-cookie-tag-map": ":tag",
	"netra-http-routing-enabled": "ture", "netra-http-routing-header-name": "x-source", "netra-http-routing-cookie-enabled": "true", "netra-http-routing-cookie-name": "a=b",
	"netra-routing-context-expiration-milliseconds": "-1", "netra-routing-context-cleanup-interval": "0",
	"otel-traces-exporter": "zipkin", "otel-sdk-disabled": "yes", "otel-service-name": strings.Repeat("x", 9000), "otel-resource-attributes": "a",
	"otel-traces-sampler": "always", "otel-traces-sampler-arg": "2",
	"otel-bsp-schedule-delay": "5s", "otel-bsp-export-timeout": "0", "otel-bsp-max-queue-size": "0", "otel-bsp-max-export-batch-size": "4096",
	"otel-exporter-otlp-endpoint": "collector:4318", "otel-exporter-otlp-traces-endpoint": "ftp://c",
	"otel-exporter-otlp-headers": "a", "otel-exporter-otlp-traces-headers": "host=a",
	"otel-exporter-otlp-timeout": "10s", "otel-exporter-otlp-traces-timeout": "0",
	"otel-exporter-otlp-compression": "zstd", "otel-exporter-otlp-traces-compression": "br",
	"otel-exporter-otlp-protocol": "grpc", "otel-exporter-otlp-traces-protocol": "http/json",
	"jaeger-service-name": "a\x00", "jaeger-endpoint": "j:14268", "jaeger-user": "ann", "jaeger-password": "secret", "jaeger-agent-host": "agent:6831", "jaeger-agent-port": "0",
	"jaeger-tags": "zone", "jaeger-disabled": "yes", "jaeger-sampler-type": "adaptive", "jaeger-sampler-param": "0.5",
	"jaeger-sampling-endpoint": "/sampling", "jaeger-sampler-manager-host-port": "agent:5778", "jaeger-sampler-refresh-interval": "-1m", "jaeger-sampler-max-operations": "-1",
	"jaeger-reporter-max-queue-size": "1000000000", "jaeger-reporter-flush-interval": "500", "jaeger-reporter-log-spans": "some",
	"jaeger-reporter-attempt-reconnecting-disabled": "never", "jaeger-reporter-attempt-reconnect-interval": "-10s",
	"jaeger-rpc-metrics": "true", "jaeger-traceid-128bit": "false",
	"git-url": "git@git.example:web.git", "app-path": "/fmc/bin", "stinger-scripts": "scripts", "start-after-pull": "yes", "stinger-grace": "10", "stinger-wait-for-code": "no",
	"stinger-reload": `[{"paths": ["*"], "do": "biuld"}]`, "stinger-listen": "http", "stinger-build-timeout": "0",
	"image-pull-policy": "always", "netra-cpu-request": "2e0", "netra-cpu-limit": "5m", "netra-memory-request": "-1", "netra-memory-limit": "128m",
}

// A bad value is one warning that names the annotation, and a pod like the one
// without it.
func TestEachBadValueIsAWarningAndLeftOut(t *testing.T) {
	plain, _ := injected(t, nil)
	want, _ := json.Marshal(plain.Spec)
	for name := range known {
		value, ok := faulty[name]
		if !ok {
			t.Errorf("no bad value of %s is tried", name)
			continue
		}
		pod, r := injected(t, map[string]string{name: value})
		if got, _ := json.Marshal(pod.Spec); string(got) != string(want) {
			t.Errorf("%s=%q: the pod is\n%s\nwant\n%s", name, value, got, want)
		}
		if len(r.Warnings) != 1 || !strings.HasPrefix(r.Warnings[0], api.Domain+"/"+name) || !strings.Contains(r.Warnings[0], "no effect") {
			t.Errorf("%s=%q: warnings %q", name, value, r.Warnings)
		}
	}
}

// Warnings are shown and logged.
func TestNoSecretIsShown(t *testing.T) {
	for name, value := range map[string]string{
		"jaeger-password": "s3cret", "jaeger-endpoint": "ftp://ann:s3cret@j", "git-url": "ann:s3cret@git.example", "otel-exporter-otlp-headers": "s3cret",
		"otel-exporter-otlp-traces-headers": "authorization=s3cret\x00", "otel-exporter-otlp-endpoint": "http://ann:s3cret@c\x00",
	} {
		_, r := injected(t, map[string]string{name: value})
		if len(r.Warnings) != 1 || strings.Contains(r.Warnings[0], "s3cret") {
			t.Errorf("%s: warnings %q", name, r.Warnings)
		}
	}
}

// However many are wrong, the programs accept what is left.
func TestAllBadValuesTogether(t *testing.T) {
	_, r := injected(t, faulty)
	if len(r.Warnings) > maxWarnings || !strings.Contains(strings.Join(r.Warnings, "\n"), "more annotations of formicarium.io have no effect") {
		t.Errorf("warnings: %q", r.Warnings)
	}
	startable(t, faulty)
}

// startable fails where netra, netra-init or Kubernetes would refuse what
// becomes of the annotations.
func startable(t testing.TB, annotations map[string]string) {
	t.Helper()
	pod, r := injected(t, annotations)
	for _, container := range []string{api.ContainerNetraInit, api.ContainerNetra} {
		set := environment(t, pod, container)
		reader := env.NewReader(func(name string) string { return set[name] })
		if container == api.ContainerNetra {
			if sidecar.ReadNetra(reader).ServiceName == "" {
				t.Errorf("%v: netra has no service name", annotations)
			}
		} else {
			sidecar.ReadRedirect(reader)
		}
		if err := reader.Err(); err != nil {
			t.Errorf("%s refuses what becomes of %q: %v", container, annotations, err)
		}
	}
	for _, c := range pod.Spec.InitContainers {
		for name, limit := range c.Resources.Limits {
			if request := c.Resources.Requests[name]; request.Cmp(limit) > 0 {
				t.Errorf("%s requests %s of %s and is limited to %s", c.Name, request.String(), name, limit.String())
			}
		}
		if !slices.Contains(PullPolicies, string(c.ImagePullPolicy)) {
			t.Errorf("%s has the pull policy %q", c.Name, c.ImagePullPolicy)
		}
	}
	if len(r.Warnings) > maxWarnings {
		t.Errorf("%d warnings", len(r.Warnings))
	}
	for _, w := range r.Warnings {
		if len(w) > maxWarning || strings.ContainsAny(w, "\r\n\x00") {
			t.Errorf("a warning of %d bytes: %q", len(w), w)
		}
	}
}

func TestAThousandUnknownAnnotations(t *testing.T) {
	annotations := map[string]string{}
	for i := range 1000 {
		annotations[fmt.Sprintf("netra-http-pörts-%d", i)] = "1"
	}
	annotations["netra-propagation"] = "zipkin"
	_, r := injected(t, annotations)
	if len(r.Warnings) != maxSlips+1 || r.Warnings[maxSlips] != "and 993 more annotations of formicarium.io have no effect" {
		t.Errorf("%d warnings: %q", len(r.Warnings), r.Warnings)
	}
}

func TestManyWarningsAreBounded(t *testing.T) {
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	annotations := map[string]string{"container": strings.Join(names, ",")}
	startable(t, annotations)
	if _, r := injected(t, annotations); len(r.Warnings) > maxWarnings {
		t.Errorf("%d warnings", len(r.Warnings))
	}
}

// What is explicit for traces wins over what names the pod's service.
func TestServiceNameInTraces(t *testing.T) {
	for _, test := range []struct {
		annotations map[string]string
		want        string
	}{
		{map[string]string{}, "web"},
		{map[string]string{"service": "orders"}, "orders"},
		{map[string]string{"service": "orders", "otel-resource-attributes": "service.name=Orders%20two"}, "Orders two"},
		{map[string]string{"service": "orders", "otel-resource-attributes": "service.name=two", "otel-service-name": "Three"}, "Three"},
		{map[string]string{"service": "orders", "otel-service-name": "Three", "jaeger-service-name": "four"}, "four"},
		{map[string]string{"service": "orders", "otel-resource-attributes": "service.name=%zz"}, "orders"},
	} {
		pod, r := injected(t, test.annotations)
		set := environment(t, pod, api.ContainerNetra)
		got := sidecar.ReadNetra(env.NewReader(func(name string) string { return set[name] })).ServiceName
		if got != test.want {
			t.Errorf("%v: netra's service is %q, want %q", test.annotations, got, test.want)
		}
		if name := test.annotations["service"]; name != "" && r.Status.Service != name {
			t.Errorf("%v: the pod's service is %q", test.annotations, r.Status.Service)
		}
	}
}

// FuzzAnnotations looks for annotations that make a container which does not
// start, and for warnings that no header holds. Each number chooses a key.
func FuzzAnnotations(f *testing.F) {
	list := names()
	at := func(name string) uint8 { return uint8(slices.Index(list, name)) }
	for name, value := range faulty {
		f.Add(at(name), value, at("netra-port"), "14955", at("jaeger-user"), "ann")
	}
	f.Add(at("netra-admin-port"), "15000", at("netra-pprof-port"), "15000", at("netra-http-x-source-value"), "$(POD_NAME) $$")
	f.Add(at("netra-cpu-limit"), "1", at("netra-cpu-request"), "1001m", at("container"), "web,web")
	f.Fuzz(func(t *testing.T, a uint8, b string, c uint8, d string, e uint8, g string) {
		key := func(n uint8) string { return list[int(n)%len(list)] }
		annotations := map[string]string{key(a): b, key(c): d, key(e): g}
		annotations["inject"] = api.InjectEnabled
		startable(t, annotations)
	})
}
