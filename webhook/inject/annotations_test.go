package inject

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/formicarium/formicarium/internal/api"
)

// Every variable that netra and netra-init read has an annotation, and every
// annotation a variable that is read. The names are taken from the programs'
// own source.
func TestAnnotationsCoverNetrasVariables(t *testing.T) {
	pattern := regexp.MustCompile(`"((?:NETRA|HTTP)_[A-Z_]+|(?:INBOUND|OUTBOUND)_INTERCEPT_PORTS)"`)
	read := map[string]bool{}
	for _, glob := range []string{"../../netra/*.go", "../../netra/*/*.go", "../../internal/api/environ.go"} {
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatalf("finding %s: %v", glob, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range pattern.FindAllSubmatch(source, -1) {
				read[string(match[1])] = true
			}
		}
	}
	delete(read, api.EnvNetraUID) // netra's user is not the pod's to choose
	for _, chain := range []string{"NETRA_INBOUND", "NETRA_OUTBOUND"} {
		delete(read, chain) // a name in the packet filter
	}
	for key, v := range known {
		if v.to&toStinger != 0 {
			continue
		}
		if !read[v.env] {
			t.Errorf("annotation %s sets %s, which nothing reads", key, v.env)
		}
		delete(read, v.env)
	}
	for name := range read {
		t.Errorf("%s has no annotation: it would be %q", name, strings.ToLower(strings.ReplaceAll(name, "_", "-")))
	}
}

func TestAnnotationKeysAreTheVariablesInKebabCase(t *testing.T) {
	for key, v := range known {
		if want := strings.ToLower(strings.ReplaceAll(v.env, "_", "-")); key != want {
			t.Errorf("%s is set by %q, want %q", v.env, key, want)
		}
	}
}

func TestExportersVariablesArePassedOn(t *testing.T) {
	for name, want := range map[string]string{"jaeger-sampler-type": "JAEGER_SAMPLER_TYPE", "otel-service-name": "OTEL_SERVICE_NAME", "jaeger-": "", "jaeger-Sampler": "", "otel-a_b": "", "jaegers": ""} {
		v, ok := lookup(name)
		if ok != (want != "") || v.env != want {
			t.Errorf("lookup(%q) = %q, %v, want %q", name, v.env, ok, want)
		}
	}
}
