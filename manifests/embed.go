// Package manifests holds what the plugin applies to a cluster: the system
// that one installation shares, and a devspace.
//
//	objects, err := manifests.System(manifests.SystemSettings{…})
//
// The files beside this one are templates of YAML. Values enter them through
// the function json only, so that no value can change their structure.
package manifests

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"text/template"

	"github.com/formicarium/formicarium/internal/api"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed system/*.yaml devspace/*.yaml
var files embed.FS

// words are the names that the templates share with the programs.
var words = map[string]any{
	"fieldManager":    api.FieldManager,
	"systemNamespace": api.SystemNamespace,
	"labelDevspace":   api.LabelDevspace,
	"labelService":    api.LabelService,
	"labelInject":     api.LabelInject,
	"injectEnabled":   api.InjectEnabled,
	"injectDisabled":  api.InjectDisabled,
	"annotation":      api.AnnotationInject,
	"hubName":         api.HubName,
	"hubPort":         api.HubPort,
	"hubServicePort":  api.HubServicePort,
	"ownFirst":        api.OwnPortFirst,
	"ownLast":         api.OwnPortLast,
	"belowOwn":        api.OwnPortFirst - 1,
	"aboveOwn":        api.OwnPortLast + 1,
	"webhook":         WebhookName,
	"webhookPort":     webhookPort,
	"installation":    InstallationName,
	"certificate":     CertificateName,
	"configuration":   ConfigurationName,
	"webhookNames":    api.WebhookNames(),
	"jaeger":          JaegerName,
	"authority":       api.AuthorityName,
	"authorityPath":   authorityPath,
	"developer":       api.DeveloperAccount,
	"tokenReviewer":   TokenReviewerName,
	"resourceGroup":   api.ResourceGroup,
	"repositories":    api.ResourceRepositories,
	"stingers":        api.ResourceStingers,
}

// render executes every template of folder, in the order of their names, and
// returns the objects they hold.
func render(folder string, settings any) ([]*unstructured.Unstructured, error) {
	names, err := fs.Glob(files, folder+"/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("listing manifests of %s: %w", folder, err)
	}
	slices.Sort(names)
	var objects []*unstructured.Unstructured
	for _, name := range names {
		found, err := renderFile(name, settings)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

func renderFile(name string, settings any) ([]*unstructured.Unstructured, error) {
	text, err := files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", name, err)
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(functions()).Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("parsing manifest %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, settings); err != nil {
		return nil, fmt.Errorf("rendering manifest %s: %w", name, err)
	}
	objects, err := decode(&out)
	if err != nil {
		return nil, fmt.Errorf("decoding manifest %s: %w", name, err)
	}
	return objects, nil
}

func functions() template.FuncMap {
	return template.FuncMap{
		// json quotes a value; JSON is YAML, so it fits wherever a value may
		// stand.
		"json": func(v any) (string, error) {
			text, err := json.Marshal(v)
			return string(text), err
		},
		// word returns one of the words, and fails where there is none.
		"word": func(name string) (any, error) {
			v, ok := words[name]
			if !ok {
				return nil, fmt.Errorf("no word %q", name)
			}
			return v, nil
		},
	}
}

func decode(in io.Reader) ([]*unstructured.Unstructured, error) {
	// 4096 is only how much is looked at to tell JSON from YAML.
	d := yaml.NewYAMLOrJSONDecoder(in, 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := d.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(object.Object) != 0 {
			objects = append(objects, object)
		}
	}
}
