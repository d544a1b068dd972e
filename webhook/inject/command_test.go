package inject

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// testImages are what the images of testdata run by themselves.
var testImages = map[string]ImageCommand{
	"registry.example/shell-form:1":  {Entrypoint: []string{"/bin/sh", "-c", `echo $$ $HOME $(PATH); exec "$@"`, "--"}, Cmd: []string{"server", "--price=$5"}},
	"registry.example/entrypoint:1":  {Entrypoint: []string{"/entry"}, Cmd: []string{"serve", "--default"}},
	"registry.example/cmd-only:1":    {Cmd: []string{"/bin/bash"}},
	"registry.example/unreachable:1": {Fault: "its registry cannot be reached"},
	"registry.example/empty:1":       {},
	"registry.example/differs:1":     {Entrypoint: []string{"/amd"}, Caveat: "for linux/arm64 it is another, so choose one with a node selector"},
}

// expand does with a word of a pod's command what the kubelet does, for
// variables that do not exist: $$ is $, and all else stays.
func expand(word string) string {
	var out []byte
	for i := 0; i < len(word); i++ {
		out = append(out, word[i])
		if word[i] == '$' && i+1 < len(word) && word[i+1] == '$' {
			i++
		}
	}
	return string(out)
}

// What Stinger is given is what the kubelet would have run.
func TestCommandIsWhatTheKubeletWouldRun(t *testing.T) {
	const name = "registry.example/x:1"
	for _, image := range []ImageCommand{
		{Entrypoint: []string{"/e", "1"}, Cmd: []string{"c", "$$", "$(A)", "a$b"}}, {Entrypoint: []string{"/e"}}, {Cmd: []string{"/c", "$"}},
	} {
		for _, own := range []struct{ command, args []string }{
			{nil, nil}, {nil, []string{"a1", "a2"}}, {[]string{"/own"}, nil}, {[]string{"/own"}, []string{"a1"}},
		} {
			want := slices.Concat(own.command, own.args)
			if own.command == nil {
				want = slices.Concat(image.Entrypoint, own.args)
				if own.args == nil {
					want = slices.Concat(image.Entrypoint, image.Cmd)
				}
			}
			pod := corev1.Pod{}
			pod.Annotations = map[string]string{"formicarium.io/inject": "stinger"}
			pod.Spec.Containers = []corev1.Container{{Name: "web", Image: name, Command: own.command, Args: own.args}}
			data, err := json.Marshal(pod)
			if err != nil {
				t.Fatal(err)
			}
			s := testSettings()
			s.Images = map[string]ImageCommand{name: image}
			var patched corev1.Pod
			if err := json.Unmarshal(apply(t, data, mustInject(t, data, NamespaceInfo{}, s)), &patched); err != nil {
				t.Fatal(err)
			}
			c := patched.Spec.Containers[0]
			var got []string
			for _, word := range slices.Concat(c.Command, c.Args) {
				got = append(got, expand(word))
			}
			if !slices.Equal(got, append([]string{"/fmc/bin/stinger", "run", "--"}, want...)) {
				t.Errorf("image %+v, container %+v: runs %q, want %q under Stinger", image, own, got, want)
			}
		}
	}
}

func TestNeedsImages(t *testing.T) {
	pod := func(annotations, os string) []byte {
		return fmt.Appendf(nil, `{"metadata":{"annotations":{%s}},"spec":{
			"nodeSelector":{"kubernetes.io/arch":"arm64","kubernetes.io/os":%q},
			"imagePullSecrets":[{"name":"a"},{"name":""},{"name":"b"},{"name":"a"}],
			"containers":[{"name":"one","image":"r/one"},{"name":"two","image":"r/two","command":["/x"]},
				{"name":"three","image":"r/three","args":["/x"]},{"name":"four","image":"r/one"}]}}`, annotations, os)
	}
	for _, c := range []struct {
		annotations, os, namespace string
		want                       []string
	}{
		{`"formicarium.io/inject":"stinger"`, "linux", "shop", []string{"r/one"}},
		{`"formicarium.io/inject":"enabled","formicarium.io/container":"three,two,one,four,five"`, "linux", "shop", []string{"r/three", "r/one"}},
		{`"formicarium.io/inject":"netra"`, "linux", "shop", nil},
		{`"formicarium.io/inject":"stinger"`, "windows", "shop", nil},
		{`"formicarium.io/inject":"stinger"`, "linux", "kube-system", nil},
		{``, "linux", "shop", nil},
	} {
		q, err := NeedsImages(pod(c.annotations, c.os), NamespaceInfo{Name: c.namespace, Inject: "enabled"})
		if err != nil || !slices.Equal(q.Images, c.want) {
			t.Errorf("%+v: %+v, %v", c, q, err)
		}
		if c.want != nil && (q.OS != c.os || q.Architecture != "arm64" || !slices.Equal(q.PullSecrets, []string{"a", "b"})) {
			t.Errorf("%+v: %+v", c, q)
		}
	}
	if _, err := NeedsImages([]byte(`{"spec":[]}`), NamespaceInfo{}); err == nil {
		t.Error("no pod is a pod")
	}
	// Of its own result it asks nothing.
	data := pod(`"formicarium.io/inject":"stinger"`, "linux")
	s := testSettings()
	s.Images = map[string]ImageCommand{"r/one": {Cmd: []string{"/x"}}}
	if q, err := NeedsImages(apply(t, data, mustInject(t, data, NamespaceInfo{}, s)), NamespaceInfo{}); err != nil || len(q.Images) > 0 {
		t.Errorf("an injected pod needs %+v, %v", q, err)
	}
}

func TestInstallUser(t *testing.T) {
	for text, want := range map[string]int64{
		`{"containers":[{"name":"a","command":["a"]}]}`:                                                                                           65532,
		`{"securityContext":{"runAsUser":0},"containers":[{"name":"a","command":["a"]}]}`:                                                         65532,
		`{"securityContext":{"runAsUser":7},"containers":[{"name":"a","command":["a"],"securityContext":{"runAsUser":8}}]}`:                       7,
		`{"securityContext":{"runAsUser":0},"containers":[{"name":"a","command":["a"]},{"name":"b","securityContext":{"runAsUser":1000680000}}]}`: 1000680000,
	} {
		data := []byte(`{"metadata":{"annotations":{"formicarium.io/inject":"stinger"}},"spec":` + text + `}`)
		var patched corev1.Pod
		if err := json.Unmarshal(apply(t, data, mustInject(t, data, NamespaceInfo{}, testSettings())), &patched); err != nil {
			t.Fatal(err)
		}
		if got := *patched.Spec.InitContainers[0].SecurityContext.RunAsUser; got != want {
			t.Errorf("%s: user %d, want %d", text, got, want)
		}
	}
}
