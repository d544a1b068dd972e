package definition

import (
	"bytes"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/testutil"
	"sigs.k8s.io/yaml"
)

// env is the environment of the tests.
func env(name string) (string, bool) {
	v, ok := map[string]string{"HOST": "front-1", "EMPTY": ""}[name]
	return v, ok
}

func rendered(t *testing.T, d *Definition) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, warning := range d.Warnings {
		out.WriteString("# " + warning + "\n")
	}
	for _, s := range d.Services {
		out.WriteString("# path: " + s.Path + "\n")
		objects, err := s.Objects("mine")
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			text, err := yaml.Marshal(object.Object)
			if err != nil {
				t.Fatal(err)
			}
			out.WriteString("---\n")
			out.Write(text)
		}
	}
	return out.Bytes()
}

func parse(t *testing.T, text, name string) (*Definition, error) {
	t.Helper()
	return Parse("fmc.yaml", "/home/ann/shop", []byte(text), Options{LookupEnv: env, Name: name})
}

func TestDefinitions(t *testing.T) {
	for file, name := range map[string]string{"shop.yaml": "", "single.json": "orders", "original.json": "orders"} {
		t.Run(file, func(t *testing.T) {
			text := readFile(t, "testdata/"+file)
			d, err := Parse(file, "/home/ann/shop", text, Options{LookupEnv: env, Name: name})
			if err != nil {
				t.Fatal(err)
			}
			testutil.Golden(t, "testdata/"+strings.TrimSuffix(strings.TrimSuffix(file, ".yaml"), ".json")+".golden.yaml", rendered(t, d))
		})
	}
}

func TestFaultsAreAllReported(t *testing.T) {
	_, err := Parse("faults.yaml", "/home/ann/shop", readFile(t, "testdata/faults.yaml"), Options{LookupEnv: env})
	if err == nil {
		t.Fatal("no fault found")
	}
	testutil.Golden(t, "testdata/faults.golden.txt", []byte(err.Error()+"\n"))
}

func TestNotADefinition(t *testing.T) {
	for text, part := range map[string]string{
		"":                              "empty",
		"- a":                           "want a mapping",
		"services: {}":                  "has no service",
		"image: x":                      "the service has no name",
		"a: b: c":                       "parsing definition fmc.yaml",
		`{"containers": []}`:            "has no container",
		"services: {a: {<<: 3}}":        "want a mapping",
		"name: a\nimage: x\nx: &a [*a]": "",
	} {
		_, err := parse(t, text, "")
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v, want an error with %q", text, err, part)
		}
	}
}

func TestSingleServiceTakesTheNameOfTheCommandLine(t *testing.T) {
	d, err := parse(t, "name: stock\nimage: x\n", "")
	if err != nil || d.Services[0].Name != "stock" || d.Services[0].Path != "/home/ann/shop" {
		t.Errorf("service = %+v, %v", d, err)
	}
	d, err = parse(t, "name: stock\nimage: x\n", "orders")
	if err != nil || d.Services[0].Name != "orders" {
		t.Errorf("service = %+v, %v", d, err)
	}
}

func TestFind(t *testing.T) {
	d, err := parse(t, "services: {a: {image: x}, b: {image: y}}", "")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := d.Find("b"); err != nil || s.Containers[0].Image != "y" {
		t.Errorf("Find(b) = %+v, %v", s, err)
	}
	if _, err := d.Find("c"); err == nil || !strings.Contains(err.Error(), "a and b") {
		t.Errorf("Find(c) = %v, want an error that names a and b", err)
	}
}

func TestInterpolate(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"plain":                 "plain",
		"$HOST":                 "$HOST",
		"a$":                    "a$",
		"$$HOST":                "$HOST",
		"$${HOST}":              "${HOST}",
		"${HOST}":               "front-1",
		"<${HOST}:${HOST}>":     "<front-1:front-1>",
		"${NONE:-x}":            "x",
		"${NONE-}":              "",
		"${EMPTY:-x}":           "x",
		"${EMPTY-x}":            "",
		"${EMPTY}":              "",
		"${NONE:-${HOST}}":      "front-1",
		"${NONE:-${NIL:-a}b}c":  "abc",
		"${HOST:?must be set}":  "front-1",
		"${NONE:-a}b${NONE:-}c": "abc",
	} {
		got, err := interpolate(in, env)
		if err != nil || got != want {
			t.Errorf("interpolate(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for in, part := range map[string]string{
		"${NONE}":         "NONE is not set",
		"${HOST":          "without }",
		"${}":             "names no variable",
		"${HOST+x}":       "not understood",
		"${NONE:?ask me}": "ask me",
		"${9}":            "names no variable",
	} {
		if _, err := interpolate(in, env); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("interpolate(%q) = %v, want an error with %q", in, err, part)
		}
	}
}

func TestPatchMayNotMoveTheObject(t *testing.T) {
	d, err := parse(t, "services: {a: {image: x, patches: [{kind: Deployment, patch: {op: replace, path: /metadata/namespace, value: kube-system}}]}}", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Services[0].Objects("mine"); err == nil {
		t.Error("a patch moved the Deployment to another namespace")
	}
}

func TestScriptsChangeThePodTemplate(t *testing.T) {
	hash := func(start string) string {
		d, err := parse(t, "services: {a: {image: x, path: ., start: "+start+"}}", "")
		if err != nil {
			t.Fatal(err)
		}
		objects, err := d.Services[0].Objects("mine")
		if err != nil {
			t.Fatal(err)
		}
		template := asMap(asMap(asMap(objects[1].Object["spec"])["template"])["metadata"])
		return asMap(template["annotations"])[api.AnnotationDefinition].(string)
	}
	if hash("a") == hash("b") {
		t.Error("another script leaves the pods as they are")
	}
	if first, again := hash("a"), hash("a"); first != again {
		t.Error("the same script replaces the pods")
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"shop.yaml", "single.json", "original.json", "faults.yaml"} {
		f.Add(readFile(f, "testdata/"+file))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Parse("f", "/", text, Options{LookupEnv: env, Name: "a"})
		if err != nil {
			return
		}
		for _, s := range d.Services {
			s.Objects("mine") // must not panic; patches may fail
		}
	})
}

// The README's example is a definition.
func TestReadme(t *testing.T) {
	text := string(readFile(t, "../../../README.md"))
	_, block, found := strings.Cut(text, "```yaml\nservices:")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("the README has no example")
	}
	d, err := Parse("fmc.yaml", "/home/ann/shop", []byte("services:"+block), Options{LookupEnv: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Services) != 1 || d.Services[0].Name != "orders" || len(d.Warnings) > 0 {
		t.Errorf("the README's example has the services %v and the warnings %v", d.Services, d.Warnings)
	}
}
