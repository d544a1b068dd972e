//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// jwt is what a token looks like: three parts in base64, of which the first two are
// JSON objects.
var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.(eyJ[A-Za-z0-9_-]{8,})\.[A-Za-z0-9_-]{8,}`)

// holdsToken reports a token that is for a devspace.
func holdsToken(data []byte) bool {
	for _, parts := range jwt.FindAllSubmatch(data, -1) {
		claims, err := base64.RawURLEncoding.DecodeString(string(parts[1]))
		if err == nil && strings.Contains(string(claims), api.Audience("")) {
			return true
		}
	}
	return false
}

// tokensBelow looks through all files of a directory, git's configuration among
// them.
func tokensBelow(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	seen := 0
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		seen++
		if holdsToken(data) {
			found = append(found, path)
		}
		return err
	})
	if err != nil || seen == 0 {
		t.Fatalf("looking through %d files of %s: %v", seen, root, err)
	}
	return found
}

// tokensOfProcesses looks at the arguments and the environment of every process on
// this machine, which is the node as well where the cluster is that of e2e/cluster.
func tokensOfProcesses(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatalf("looking for processes: %v, %d of them", err, len(files))
	}
	var found []string
	syncs := 0
	for _, file := range files {
		cmdline, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		if strings.Contains(string(cmdline), "kubectl-fmc\x00sync\x00") {
			syncs++
		}
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "environ")) // it may have ended
		if holdsToken(cmdline) || holdsToken(environ) {
			found = append(found, file)
		}
	}
	if syncs == 0 {
		t.Error("the sync is not among the processes that were looked at")
	}
	return found
}

// tokensInLogs looks through all logs of the devspace, from the first line.
func (s *system) tokensInLogs(t *testing.T) []string {
	t.Helper()
	pods, err := s.Clients.CoreV1().Pods(devspace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, pod := range pods.Items {
		for _, c := range append(pod.Spec.Containers, pod.Spec.InitContainers...) {
			log, err := s.Clients.CoreV1().Pods(devspace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: c.Name}).DoRaw(t.Context())
			if err != nil {
				t.Logf("the log of %s/%s cannot be read: %v", pod.Name, c.Name, err) // it may not have started
				continue
			}
			if holdsToken(log) || strings.Contains(string(log), "PRIVATE KEY") {
				found = append(found, fmt.Sprintf("the log of %s/%s", pod.Name, c.Name))
			}
		}
	}
	return found
}

// tokenFinder prints the files below directories that hold something like a token.
const tokenFinder = `
import os, re, sys
for root in sys.argv[1:]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as f:
                    if re.search(rb"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.", f.read()):
                        print(path)
`

// tokensInPod looks through what Stinger keeps in a pod; the kubelet's own file,
// which nobody writes to a disk, is not below it.
func (s *system) tokensInPod(t *testing.T) []string {
	t.Helper()
	out := s.kubectl(t, "exec", "-n", devspace, s.pod(t, "orders"), "-c", "orders", "--", "python3", "-c", tokenFinder, "/app", "/fmc/state")
	return strings.Fields(out)
}

// knocker sends requests from within a pod, each with the token that a file of the
// pod holds, so that no token is among the arguments of anything. Who it is that
// answers it does not ask. Where it cannot even reach the first, it gives up.
const knocker = `
import json, ssl, sys, urllib.request, urllib.error
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
answers = []
for method, url, name in json.loads(sys.argv[1]):
    request = urllib.request.Request(url, method=method)
    if name:
        request.add_header("Authorization", "Bearer " + open("/tokens/" + name).read())
    try:
        with urllib.request.urlopen(request, timeout=20, context=context if url.startswith("https") else None) as answer:
            answers.append(answer.status)
    except urllib.error.HTTPError as e:
        answers.append(e.code)
    except OSError as e:
        answers.append(str(e))
        if len(answers) == 1:
            break
print(json.dumps(answers))
`

// knock is one request of a knocker's.
type knock struct {
	method, url, token string
	want               int
}

// knockerManifest is a pod with tokens that the kubelet gave it, by the names of
// their audiences.
func knockerManifest(space string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"knocker","namespace":%q,"annotations":{%q:%q}},"spec":{"terminationGracePeriodSeconds":1,
		"containers":[{"name":"main","image":"PYTHON","command":["sleep","3600"],"volumeMounts":[{"name":"tokens","mountPath":"/tokens"}]}],
		"volumes":[{"name":"tokens","projected":{"sources":[
			{"serviceAccountToken":{"path":"mine","audience":%q,"expirationSeconds":600}},
			{"serviceAccountToken":{"path":"other","audience":%q,"expirationSeconds":600}},
			{"serviceAccountToken":{"path":"cluster","expirationSeconds":600}}]}}]}}`,
		space, api.AnnotationInject, api.InjectDisabled, api.Audience(devspace), api.Audience(otherspace))
}

// testFromPods knocks from a pod of the devspace and from one of another.
func testFromPods(t *testing.T, s *system) {
	orders, err := s.Clients.CoreV1().Pods(devspace).Get(t.Context(), s.pod(t, "orders"), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hub := fmt.Sprintf("https://%s.%s:%d", api.HubName, devspace, api.HubServicePort)
	stinger := fmt.Sprintf("https://%s:%d", orders.Status.PodIP, api.StingerPort)
	const fetch, push = "/orders.git/info/refs?service=git-upload-pack", "/orders.git/info/refs?service=git-receive-pack"
	for space, withOwnToken := range map[string]int{devspace: ok, otherspace: forbidden} {
		s.apply(t, knockerManifest(space))
		defer s.kubectl(t, "delete", "pod", "-n", space, "knocker", "--wait=false", "--grace-period=1")
		s.kubectl(t, "wait", "-n", space, "--for=condition=Ready", "pod/knocker", "--timeout=90s")
		s.knock(t, space, []knock{
			{"GET", hub + "/healthz", "", ok}, // so it is no network that keeps it away
			{"GET", hub + fetch, "mine", withOwnToken},
			{"GET", hub + push, "mine", forbidden},
			{"DELETE", hub + "/api/repositories/orders", "mine", forbidden},
			{"GET", hub + fetch, "", unauthorized},
			{"GET", hub + push, "", unauthorized},
			{"GET", hub + "/api/repositories", "", unauthorized},
			{"GET", hub + fetch, "other", unauthorized},
			{"GET", hub + fetch, "cluster", unauthorized},
			{"GET", strings.Replace(hub, "https", "http", 1) + fetch, "mine", 400}, // plain HTTP
			{"GET", stinger + "/health", "", ok},
			{"GET", stinger + "/status", "", unauthorized},
			{"POST", stinger + "/reset", "", unauthorized},
			{"POST", stinger + "/pull", "mine", unauthorized},
			{"GET", strings.Replace(stinger, "https", "http", 1) + "/status", "", 400},
		})
	}
}

func (s *system) knock(t *testing.T, space string, knocks []knock) {
	t.Helper()
	var requests [][3]string
	for _, k := range knocks {
		requests = append(requests, [3]string{k.method, k.url, k.token})
	}
	list, err := json.Marshal(requests)
	if err != nil {
		t.Fatal(err)
	}
	out := s.kubectl(t, "exec", "-n", space, "knocker", "--", "python3", "-c", knocker, string(list))
	var answers []any
	err = json.Unmarshal([]byte(out), &answers)
	if reason, cut := first(answers).(string); cut && space != devspace {
		t.Logf("this cluster's network keeps pods of other namespaces away by itself: %s", reason)
		return
	}
	if err != nil || len(answers) != len(knocks) {
		t.Fatalf("the pod in %s printed %q: %v", space, out, err)
	}
	for i, k := range knocks {
		// A Stinger may say either to one who has no certificate.
		either := k.want == unauthorized && strings.Contains(k.url, fmt.Sprintf(":%d/", api.StingerPort)) && answers[i] == float64(forbidden)
		if answers[i] != float64(k.want) && !either {
			t.Errorf("from a pod in %s, %s %s with token %q is answered %v, want %d", space, k.method, k.url, k.token, answers[i], k.want)
		}
	}
}

func first(answers []any) any {
	if len(answers) == 0 {
		return nil
	}
	return answers[0]
}

func text(t *testing.T, in io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
