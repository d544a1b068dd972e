package devspace

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Status is how a devspace is.
type Status struct {
	Devspace string          `json:"devspace"`
	Services []ServiceStatus `json:"services"`
	// HubError is set where the hub could not be asked.
	HubError string `json:"hubError,omitempty"`
}

// ServiceStatus is how one service is.
type ServiceStatus struct {
	Name  string `json:"name"`
	Ready int32  `json:"ready"`
	Want  int32  `json:"want"`
	// Head is the commit at the hub; empty where the service is not synced.
	Head string `json:"head,omitempty"`
	// SyncedBy is who syncs it; nil where nobody does.
	SyncedBy *SyncHolder `json:"syncedBy,omitempty"`
	Pods     []PodStatus `json:"pods"`
	// InSync is set where every synced container runs the head.
	InSync bool `json:"inSync"`
}

// PodStatus is how one pod is.
type PodStatus struct {
	Name     string            `json:"name"`
	Phase    string            `json:"phase"`
	Ready    bool              `json:"ready"`
	Netra    bool              `json:"netra"`
	Restarts int32             `json:"restarts"`
	Created  time.Time         `json:"created"`
	Problems []string          `json:"problems,omitempty"`
	Skipped  map[string]string `json:"skipped,omitempty"`
	// Containers are those that Stinger supervises.
	Containers []ContainerStatus `json:"containers,omitempty"`
}

// ContainerStatus is how one supervised container is.
type ContainerStatus struct {
	Name   string `json:"name"`
	InSync bool   `json:"inSync"`
	api.StingerStatus
	// Error is set where Stinger could not be asked.
	Error string `json:"error,omitempty"`
}

// Status asks for the state of a service, or of all of a devspace where name is
// empty.
func (c *Client) Status(ctx context.Context, devspace, name string) (Status, error) {
	selector := managed + "," + serviceSelector(name)
	deployments, err := c.Kube.AppsV1().Deployments(devspace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return Status{}, fmt.Errorf("listing services: %w", err)
	}
	if name != "" && len(deployments.Items) == 0 {
		return Status{}, noServiceError(devspace, name)
	}
	pods, err := c.servicePods(ctx, devspace, name)
	if err != nil {
		return Status{}, err
	}
	status := Status{Devspace: devspace, Services: []ServiceStatus{}}
	heads := c.heads(ctx, devspace, &status)
	described := c.describePods(ctx, pods)
	holders, _ := c.syncHolders(ctx, devspace) // who may not know that may know the rest
	for _, d := range deployments.Items {
		service := ServiceStatus{Name: d.Name, Ready: d.Status.ReadyReplicas, Want: replicas(&d), Head: heads[d.Name].Head, SyncedBy: holders[d.Name]}
		for i, pod := range pods {
			if pod.Labels[api.LabelService] == d.Name && pod.Labels[api.LabelManagedBy] == api.FieldManager {
				service.Pods = append(service.Pods, described[i])
			}
		}
		service.compare()
		status.Services = append(status.Services, service)
	}
	slices.SortFunc(status.Services, func(a, b ServiceStatus) int { return strings.Compare(a.Name, b.Name) })
	return status, nil
}

// ServiceNames returns the names of the deployed services.
func (c *Client) ServiceNames(ctx context.Context, devspace string) ([]string, error) {
	deployments, err := c.Kube.AppsV1().Deployments(devspace).List(ctx, metav1.ListOptions{LabelSelector: managed + "," + api.LabelService})
	if err != nil {
		return nil, fmt.Errorf("listing services: %w", err)
	}
	var names []string
	for _, d := range deployments.Items {
		names = append(names, d.Name)
	}
	return names, nil
}

func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// heads asks the hub for its repositories, and notes where it does not answer.
func (c *Client) heads(ctx context.Context, devspace string, status *Status) map[string]api.Repository {
	hub := c.Hub(devspace)
	defer hub.Close()
	heads, err := hub.Repositories(ctx)
	if err != nil {
		status.HubError = err.Error()
	}
	return heads
}

// compare sets what is in step with the hub: what has the head and runs it.
func (s *ServiceStatus) compare() {
	s.InSync = s.Head != ""
	for i := range s.Pods {
		for j := range s.Pods[i].Containers {
			container := &s.Pods[i].Containers[j]
			container.InSync = s.Head != "" && runs(container.StingerStatus, s.Head)
			s.InSync = s.InSync && container.InSync
		}
	}
}

// describePods describes pods in their order.
func (c *Client) describePods(ctx context.Context, pods []corev1.Pod) []PodStatus {
	described := make([]PodStatus, len(pods))
	sideBySide(len(pods), func(i int) { described[i] = c.describePod(ctx, &pods[i]) })
	return described
}

func (c *Client) describePod(ctx context.Context, pod *corev1.Pod) PodStatus {
	status, _ := injection(pod)
	described := PodStatus{
		Name: pod.Name, Phase: string(pod.Status.Phase), Ready: podReady(pod), Created: pod.CreationTimestamp.UTC(),
		Netra: slices.Contains(status.Injected, api.InjectNetra), Skipped: status.Skipped,
	}
	for _, s := range pod.Status.ContainerStatuses {
		described.Restarts += s.RestartCount
		if s.State.Waiting != nil && s.State.Waiting.Reason != "PodInitializing" && s.State.Waiting.Reason != "ContainerCreating" {
			described.Problems = append(described.Problems, strings.TrimSuffix(s.Name+": "+s.State.Waiting.Reason+": "+s.State.Waiting.Message, ": "))
		}
	}
	for _, s := range stingers(pod) {
		container := ContainerStatus{Name: s.endpoint.Container}
		if containerRuns(pod, container.Name) {
			var err error
			if container.StingerStatus, err = c.stingerStatus(ctx, s); err != nil {
				container.Error = err.Error()
			}
		}
		described.Containers = append(described.Containers, container)
	}
	return described
}
