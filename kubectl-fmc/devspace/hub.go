package devspace

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// hubURL is the hub's address on a transport that leads there whatever the
// address is.
const hubURL = "https://" + api.HubName

// answerTimeout bounds how long a pod may take to begin its answer to a small
// question; a laptop that slept leaves connections that never answer.
const answerTimeout = 10 * time.Second

// Hub is a devspace's hub.
type Hub struct {
	client *http.Client
	close  func() error
}

// Hub returns the hub of a devspace. The connection to it is made when it is
// first used, and kept.
func (c *Client) Hub(devspace string) *Hub {
	d := c.developer(devspace)
	transport := c.Dial(devspace, c.hubPod(devspace), d.secureHub)
	return &Hub{close: transport.Close, client: &http.Client{
		Transport: &authorized{d, transport},
		// It sends nobody elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// hubPod finds the hub's pod.
func (c *Client) hubPod(devspace string) Target {
	return func(ctx context.Context) (string, int, error) {
		pods, err := c.Kube.CoreV1().Pods(devspace).List(ctx, metav1.ListOptions{LabelSelector: api.LabelName + "=" + api.HubName + "," + managed})
		if err != nil {
			return "", 0, fmt.Errorf("looking for the hub of devspace %s: %w", devspace, err)
		}
		for _, pod := range living(pods.Items) {
			if podReady(&pod) {
				return pod.Name, api.HubPort, nil
			}
		}
		return "", 0, fmt.Errorf("the hub of devspace %s is not ready: see kubectl -n %s get pods, or run kubectl fmc devspace create %s again", devspace, devspace, devspace)
	}
}

// Close ends the connection.
func (h *Hub) Close() error { return h.close() }

// Repositories returns the hub's repositories by name.
func (h *Hub) Repositories(ctx context.Context) (map[string]api.Repository, error) {
	var list api.RepositoryList
	if err := getJSON(ctx, h.client, hubURL+"/api/repositories", &list); err != nil {
		return nil, fmt.Errorf("asking the hub for its repositories: %w", err)
	}
	byName := map[string]api.Repository{}
	for _, r := range list.Repositories {
		byName[r.Name] = r
	}
	return byName, nil
}

// certificate asks for the certificate that Stingers know a developer by.
func (h *Hub) certificate(ctx context.Context) (*tls.Certificate, error) {
	key, csr, err := identity.NewRequest()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(api.CertificateRequest{Request: string(csr)})
	if err != nil {
		return nil, fmt.Errorf("encoding a certificate request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	text, err := request(ctx, h.client, http.MethodPost, hubURL+api.PathCertificates, body)
	if err != nil {
		return nil, err
	}
	var answer api.Certificate
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("parsing the answer: %w", err)
	}
	return identity.Pair(answer.Certificate, key)
}

// maxAnswer bounds an answer of JSON or metrics: a page of metrics with 200
// peers is about 100 KiB.
const maxAnswer = 16 << 20

// getJSON gets a page of JSON within answerTimeout.
func getJSON(ctx context.Context, client *http.Client, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	text, err := request(ctx, client, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("parsing the answer: %w", err)
	}
	return nil
}

// request sends a request, with a body of JSON where it is not nil, and returns
// the answer's body.
func request(ctx context.Context, client *http.Client, method, url string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		var fault api.Error
		if json.Unmarshal(text, &fault) == nil && fault.Error != "" {
			return nil, fmt.Errorf("%s: %s", response.Status, fault.Error)
		}
		return nil, fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(text[:min(len(text), 200)])))
	}
	return text, nil
}

// injection reads what the webhook wrote on a pod. The second result is false
// where it wrote nothing.
func injection(pod *corev1.Pod) (api.InjectionStatus, bool) {
	var status api.InjectionStatus
	text := pod.Annotations[api.AnnotationStatus]
	if text == "" || json.Unmarshal([]byte(text), &status) != nil {
		return api.InjectionStatus{}, false
	}
	return status, true
}

// stinger is one container's Stinger.
type stinger struct {
	pod      *corev1.Pod
	endpoint api.StingerEndpoint
}

// stingers returns those of a pod.
func stingers(pod *corev1.Pod) []stinger {
	status, _ := injection(pod)
	var found []stinger
	for _, endpoint := range status.Stingers {
		found = append(found, stinger{pod, endpoint})
	}
	return found
}

// askNetra asks a pod's netra, which asks nobody who they are, for a page.
func (c *Client) askNetra(ctx context.Context, pod *corev1.Pod, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Answer)
	defer cancel()
	transport := c.Dial(pod.Namespace, FixedPod(pod.Name, netraAdminPort(pod)), nil)
	defer transport.Close()
	return request(ctx, &http.Client{Transport: transport}, http.MethodGet, "http://"+pod.Name+path, nil)
}

// send sends one request to a Stinger, over a connection of its own. The answer
// may take as long as ctx lasts.
func (c *Client) send(ctx context.Context, s stinger, method, path string) ([]byte, error) {
	secure, err := c.developer(s.pod.Namespace).secureStinger(ctx, s.pod)
	if err != nil {
		return nil, err
	}
	transport := c.Dial(s.pod.Namespace, FixedPod(s.pod.Name, s.endpoint.Port), secure)
	defer transport.Close()
	return request(ctx, &http.Client{Transport: transport}, method, "https://"+s.pod.Name+path, nil)
}

// stingerStatus asks a Stinger how it is.
func (c *Client) stingerStatus(ctx context.Context, s stinger) (api.StingerStatus, error) {
	var status api.StingerStatus
	ctx, cancel := context.WithTimeout(ctx, c.Answer)
	defer cancel()
	text, err := c.send(ctx, s, http.MethodGet, "/status")
	if err != nil {
		return status, fmt.Errorf("asking %s/%s for its status: %w", s.pod.Name, s.endpoint.Container, err)
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return status, fmt.Errorf("parsing the status of %s/%s: %w", s.pod.Name, s.endpoint.Container, err)
	}
	return status, nil
}

// serviceSelector selects what belongs to a service, or to any where name is
// empty.
func serviceSelector(name string) string {
	if name == "" {
		return api.LabelService
	}
	return api.LabelService + "=" + name
}

// servicePods returns the living pods of a deployed service. Where name is empty
// it returns those of all services, also of ones that somebody else made and
// the webhook marked.
func (c *Client) servicePods(ctx context.Context, devspace, name string) ([]corev1.Pod, error) {
	selector := serviceSelector(name)
	if name != "" {
		selector += "," + managed
	}
	pods, err := c.Kube.CoreV1().Pods(devspace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	return living(pods.Items), nil
}

// noServiceError says that a service is not deployed.
func noServiceError(devspace, name string) error {
	return fmt.Errorf("no service %s in devspace %s: deploy it with kubectl fmc deploy %s, or see kubectl fmc status", name, devspace, name)
}

// short is a commit as people read it.
func short(commit string) string {
	if len(commit) > 7 {
		return commit[:7]
	}
	return commit
}
