package manifests

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
	"github.com/formicarium/formicarium/webhook/inject"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func systemSettings() SystemSettings {
	return SystemSettings{
		Version: "v1.2.3", Registry: "registry.example/formicarium", Tag: "v1.2.3", PullPolicy: "IfNotPresent",
		JaegerImage: "jaegertracing/jaeger:2.13.0", TracingEndpoint: "http://jaeger.fmc-system:14268/api/traces", RedirectBackend: "auto",
		CABundle: []byte("ca"),
	}
}

func devspaceSettings() DevspaceSettings {
	return DevspaceSettings{
		Name: "mine", Owner: "ann", HubImage: "registry.example/formicarium/tanajura:v1.2.3", PullPolicy: "IfNotPresent",
		HubStorage: "2Gi", HubMemory: "512Mi", CPU: "8", Memory: "16Gi", Pods: 50,
	}
}

// text prints objects as the cluster's tools would.
func text(t *testing.T, objects []*unstructured.Unstructured) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, object := range objects {
		y, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n")
		out.Write(y)
	}
	return out.Bytes()
}

func TestSystem(t *testing.T) {
	objects, err := System(systemSettings())
	if err != nil {
		t.Fatal(err)
	}
	testutil.Golden(t, "testdata/system.golden.yaml", text(t, objects))
	if last := objects[len(objects)-1]; last.GetKind() != "MutatingWebhookConfiguration" {
		t.Errorf("the last object is a %s: the API server must not be told of the webhook before it exists", last.GetKind())
	}
	checkLabels(t, objects)
}

func TestSystemWithCertManager(t *testing.T) {
	settings := systemSettings()
	settings.CertificateIssuer, settings.CABundle = &Issuer{Kind: "ClusterIssuer", Name: "own"}, nil
	objects, err := System(settings)
	if err != nil {
		t.Fatal(err)
	}
	objects = slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool {
		return o.GetName() == JaegerName || o.GetName() == InstallationName && o.GetKind() == "ConfigMap" || o.GetName() == "installation-reader"
	})
	testutil.Golden(t, "testdata/system-cert-manager.golden.yaml", text(t, objects))
	checkLabels(t, objects)
}

func TestSystemWithoutJaeger(t *testing.T) {
	settings := systemSettings()
	settings.JaegerImage = ""
	objects, err := System(settings)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if object.GetName() == JaegerName {
			t.Errorf("%s %s is rendered", object.GetKind(), object.GetName())
		}
	}
}

// The API server leaves out what the webhook never touches, so that a webhook
// that is down cannot hold it up.
func TestProtectedNamespacesAreLeftOut(t *testing.T) {
	objects, err := System(systemSettings())
	if err != nil {
		t.Fatal(err)
	}
	names, prefixes := inject.Protected()
	webhooks, _, err := unstructured.NestedSlice(objects[len(objects)-1].Object, "webhooks")
	if err != nil || len(webhooks) != 2 {
		t.Fatalf("%d webhooks, %v", len(webhooks), err)
	}
	for _, w := range webhooks {
		text, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.Contains(string(text), strconv.Quote(name)) {
				t.Errorf("namespace %s is not left out", name)
			}
		}
		for _, prefix := range prefixes {
			if !strings.Contains(string(text), "!request.namespace.startsWith('"+prefix+"')") {
				t.Errorf("namespaces %s… are not left out", prefix)
			}
		}
	}
}

// To get Secrets everywhere is given only where it was asked for.
func TestImagePullSecrets(t *testing.T) {
	for _, asked := range []bool{false, true} {
		settings := systemSettings()
		settings.ImagePullSecrets = asked
		objects, err := System(settings)
		if err != nil {
			t.Fatal(err)
		}
		bound := 0
		for _, object := range objects {
			if object.GetKind() == "ClusterRoleBinding" && object.GetName() == "formicarium-image-pull-secrets" {
				subjects, there, err := unstructured.NestedSlice(object.Object, "subjects")
				if err != nil || !there {
					t.Errorf("subjects: %v, %v: a later install could not take them back", there, err)
				}
				bound += len(subjects)
			}
		}
		if bound != map[bool]int{true: 1}[asked] {
			t.Errorf("asked for: %v, and %d are bound", asked, bound)
		}
	}
}

func TestDevspace(t *testing.T) {
	objects, err := Devspace(devspaceSettings())
	if err != nil {
		t.Fatal(err)
	}
	testutil.Golden(t, "testdata/devspace.golden.yaml", text(t, objects))
	checkLabels(t, objects)
	for _, object := range objects {
		if object.GetLabels()[api.LabelDevspace] != "mine" {
			t.Errorf("%s %s lacks the devspace's label", object.GetKind(), object.GetName())
		}
	}
}

func checkLabels(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range objects {
		if object.GetLabels()[api.LabelManagedBy] != api.FieldManager {
			t.Errorf("%s %s lacks the label by which it is found again", object.GetKind(), object.GetName())
		}
	}
}

// A value cannot leave its place, whatever it holds.
func TestValuesAreQuoted(t *testing.T) {
	settings := devspaceSettings()
	settings.Owner = "ann\"\n---\nkind: Secret # {{"
	objects, err := Devspace(settings)
	if err != nil {
		t.Fatal(err)
	}
	if got := objects[0].GetAnnotations()["formicarium.io/owner"]; got != settings.Owner {
		t.Errorf("owner = %q, want %q", got, settings.Owner)
	}
	for _, object := range objects {
		if object.GetKind() == "Secret" {
			t.Error("a value became an object")
		}
	}
}

// Every value in the templates passes through json or is one of the words.
func TestTemplatesQuoteEverything(t *testing.T) {
	for _, folder := range []string{"system", "devspace"} {
		entries, err := files.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			body, err := files.ReadFile(folder + "/" + entry.Name())
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range strings.Split(string(body), "{{")[1:] {
				action := strings.TrimSpace(strings.SplitN(part, "}}", 2)[0])
				ok := strings.HasPrefix(action, "json ") || strings.HasPrefix(action, "word ") ||
					strings.HasSuffix(action, "| json") || strings.HasPrefix(action, "if ") || action == "else" || action == "end"
				if !ok {
					t.Errorf("%s: {{ %s }} is not quoted", entry.Name(), action)
				}
			}
		}
	}
}
