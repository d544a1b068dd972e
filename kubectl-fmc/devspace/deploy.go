package devspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/kubectl-fmc/devspace/definition"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Source pushes a directory to a hub.
type Source interface {
	// Push brings the hub to the directory's present state.
	Push(ctx context.Context) (Pushed, error)
}

// Pushed is what became of a push.
type Pushed struct {
	// Commit is what the hub holds now, Tree the directory's tree in it.
	Commit, Tree string
	// Files is how many the directory has, Bytes how many were sent.
	Files int
	Bytes int64
	// UpToDate is set where the hub had it already.
	UpToDate bool
	Outcomes []api.Outcome
	// Notes are for people: what of the directory could not be taken.
	Notes []string
}

// Deploy deploys a service into a devspace, or brings a deployed one to its
// definition, and returns when it runs. The source is nil where the service is
// not synced.
func (c *Client) Deploy(ctx context.Context, devspace string, service *definition.Service, source Source, out io.Writer) error {
	started := time.Now()
	objects, err := service.Objects(devspace)
	if err != nil {
		return err
	}
	// Before anything is changed: half a deploy is worse than none.
	for _, object := range objects {
		if err := c.checkOwn(ctx, object); err != nil {
			return err
		}
	}
	if err := c.settleClaims(ctx, objects); err != nil {
		return err
	}
	var push Pushed
	if source != nil {
		if push, err = source.Push(ctx); err != nil {
			return fmt.Errorf("pushing %s: %w", service.Path, err)
		}
		printPushed(out, service.Name, push)
		PrintOutcomes(out, push.Outcomes)
	}
	for _, object := range objects {
		if err := c.apply(ctx, object); err != nil {
			return err
		}
	}
	if err := c.prune(ctx, devspace, service.Name, objects); err != nil {
		return err
	}
	r := &rollout{client: c, namespace: devspace, name: service.Name, out: out, inspect: c.inspectService}
	if err := r.wait(ctx); err != nil {
		return err
	}
	pods, err := c.servicePods(ctx, devspace, service.Name)
	if err != nil {
		return err
	}
	// A pod that could not take the push counts while it is there: a changed
	// definition may have replaced it.
	if err := c.checkDeploy(push.Commit, push.Outcomes).settled(ctx, runningStingers(pods)); err != nil {
		return err
	}
	printSkipped(out, service.Name, pods)
	fmt.Fprintf(out, "%s: running %s in %s (%s)\n", service.Name, orElse(short(push.Commit), "its image"), plural(len(pods), "pod"), seconds(time.Since(started)))
	return nil
}

func printPushed(out io.Writer, service string, p Pushed) {
	for _, note := range p.Notes {
		fmt.Fprintf(out, "%s: %s\n", service, note)
	}
	if p.UpToDate {
		fmt.Fprintf(out, "%s: %s is on the hub already (%s)\n", service, short(p.Commit), plural(p.Files, "file"))
		return
	}
	fmt.Fprintf(out, "%s: pushed %s (%s, %s sent)\n", service, short(p.Commit), plural(p.Files, "file"), size(p.Bytes))
}

// prune deletes what an earlier definition of the service had and this one
// does not.
func (c *Client) prune(ctx context.Context, devspace, service string, kept []*unstructured.Unstructured) error {
	have := map[string]bool{}
	for _, object := range kept {
		have[object.GetKind()+"/"+object.GetName()] = true
	}
	selector := managed + "," + api.LabelService + "=" + service
	for _, kind := range []string{"Service", "ConfigMap", kindClaim} {
		r := c.Dynamic.Resource(kinds[kind].resource).Namespace(devspace)
		found, err := r.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if kind == kindClaim && apierrors.IsForbidden(err) {
			continue // who may not see any has made none
		}
		if err != nil {
			return fmt.Errorf("listing %ss of %s: %w", strings.ToLower(kind), service, err)
		}
		for _, object := range found.Items {
			if have[kind+"/"+object.GetName()] {
				continue
			}
			if err := r.Delete(ctx, object.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("deleting %s: %w", objectName(&object), err)
			}
		}
	}
	return nil
}

// inspectService finds out why a pod that runs is not ready.
func (c *Client) inspectService(ctx context.Context, pod *corev1.Pod) []problem {
	asked := pod.Annotations[api.AnnotationInject]
	status, marked := injection(pod)
	if asked != "" && asked != api.InjectDisabled && !marked {
		return []problem{{text: "the webhook did not see the pod: run kubectl fmc install --registry REGISTRY", patience: 0}}
	}
	var problems []problem
	for part, reason := range status.Skipped {
		if part == api.InjectStinger {
			problems = append(problems, problem{text: "no Stinger in the pod: " + reason, patience: 0})
		}
	}
	for _, s := range stingers(pod) {
		if !containerRuns(pod, s.endpoint.Container) {
			continue
		}
		status, err := c.stingerStatus(ctx, s)
		var unknown *notKnownError
		if errors.As(err, &unknown) {
			return append(problems, problem{text: "its Stinger cannot be asked: " + unknown.Error(), patience: endlessPatience})
		}
		if err != nil {
			continue // it is starting
		}
		if p, found := c.stingerProblem(ctx, s, status); found {
			problems = append(problems, p)
		}
	}
	return problems
}

func containerRuns(pod *corev1.Pod, name string) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == name {
			return status.State.Running != nil
		}
	}
	return false
}

// stingerProblem tells what a supervised process that is not ready waits for.
func (c *Client) stingerProblem(ctx context.Context, s stinger, status api.StingerStatus) (problem, bool) {
	container := s.endpoint.Container
	switch {
	case status.State == api.StateBackoff:
		return problem{
			text:   fmt.Sprintf("container %s: the process ends by itself (%s)", container, orElse(status.LastExit, status.LastError, "no reason given")),
			detail: c.lastLog(ctx, s.pod, container, false), patience: longPatience,
		}, true
	case status.State == api.StateWaiting && status.LastError != "":
		return problem{text: fmt.Sprintf("container %s waits for its code: %s", container, status.LastError), patience: longPatience}, true
	case status.LastError != "":
		return problem{
			text:   fmt.Sprintf("container %s: %s", container, status.LastError),
			detail: c.lastLog(ctx, s.pod, container, false), patience: longPatience,
		}, true
	case status.State == api.StateBuilding:
		// The first build fetches what the service depends on.
		return problem{text: fmt.Sprintf("container %s builds", container), patience: endlessPatience}, true
	}
	return problem{}, false
}

// printSkipped tells what the webhook left out, which is the same for all pods.
func printSkipped(out io.Writer, service string, pods []corev1.Pod) {
	if len(pods) == 0 {
		return
	}
	status, _ := injection(&pods[0])
	for _, part := range sortedKeys(status.Skipped) {
		fmt.Fprintf(out, "%s: no %s: %s\n", service, part, status.Skipped[part])
	}
}

func orElse(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// size prints a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
