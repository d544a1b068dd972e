package devspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// problem is what keeps a rollout from ending.
type problem struct {
	// text is for people; a problem with the same text is the same problem.
	text string
	// detail are further lines, such as the last ones of a log.
	detail string
	// patience is how long to wait before it is taken as final.
	patience time.Duration
}

const (
	// shortPatience is for what rarely heals: an image that is not there may
	// still be on its way to the registry, but not for long.
	shortPatience = 10 * time.Second
	// longPatience is for what heals when another part comes up: a process
	// that ends because it cannot reach a service that is being deployed too.
	longPatience = 45 * time.Second
	// endlessPatience leaves it to the time limit of the whole.
	endlessPatience = 24 * time.Hour
)

// rollout waits for a Deployment.
type rollout struct {
	client          *Client
	namespace, name string
	out             io.Writer
	// inspect finds further problems of a pod that runs and is not ready.
	inspect func(ctx context.Context, pod *corev1.Pod) []problem

	seen     map[string]sighting // problems by their text
	lastLine string
}

// sighting is when a problem was seen first and last.
type sighting struct{ first, last time.Time }

// absence is how long a problem must be away to be taken as gone: a process
// that ends again and again runs in between.
const absence = 20 * time.Second

// waitDeployment waits until all replicas of a Deployment run its newest
// template, and prints how it goes. It gives up when ctx ends or a problem
// stays.
func (c *Client) waitDeployment(ctx context.Context, namespace, name string, out io.Writer) error {
	r := &rollout{client: c, namespace: namespace, name: name, out: out}
	return r.wait(ctx)
}

func (r *rollout) wait(ctx context.Context) error {
	r.seen = map[string]sighting{}
	var last []problem
	for {
		done, problems, err := r.look(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case done:
			return nil
		case len(problems) > 0 && (ctx.Err() == nil || last == nil):
			// Kept while they are away, see absence, and where the end of ctx
			// cut the look short: it found less of them, such as no log.
			last = problems
		}
		if final := r.report(problems); final != nil {
			return final.error(r.name)
		}
		select {
		case <-ctx.Done():
			return r.timedOut(ctx, last)
		case <-time.After(r.client.Poll):
		}
	}
}

// look asks for the present state once.
func (r *rollout) look(ctx context.Context) (done bool, problems []problem, err error) {
	d, err := r.client.Kube.AppsV1().Deployments(r.namespace).Get(ctx, r.name, metav1.GetOptions{})
	if err != nil {
		return false, nil, fmt.Errorf("looking at deployment/%s: %w", r.name, err)
	}
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	if s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want {
		return true, nil, nil
	}
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			problems = append(problems, problem{text: "pods cannot be created: " + condition.Message, patience: shortPatience})
		}
	}
	pods, err := r.client.newPods(ctx, d)
	if err != nil {
		return false, nil, err
	}
	ready := 0
	for i := range pods {
		if podReady(&pods[i]) {
			ready++
		}
		problems = append(problems, r.podProblems(ctx, &pods[i])...)
	}
	if s.ObservedGeneration >= d.Generation {
		r.line(fmt.Sprintf("%s: %d of %d ready", r.name, ready, want))
	}
	return false, problems, nil
}

// line prints text unless it is what was printed last.
func (r *rollout) line(text string) {
	if text != r.lastLine {
		r.lastLine = text
		fmt.Fprintln(r.out, text)
	}
}

// report prints problems that are new and returns one that stayed too long.
func (r *rollout) report(problems []problem) *problem {
	now := time.Now()
	var final *problem
	for i, p := range problems {
		s, known := r.seen[p.text]
		if !known {
			fmt.Fprintf(r.out, "%s: %s\n", r.name, p.text)
		}
		if now.Sub(s.last) > absence {
			s.first = now
		}
		s.last = now
		r.seen[p.text] = s
		if now.Sub(s.first) >= p.patience && final == nil {
			final = &problems[i]
		}
	}
	return final
}

func (p *problem) error(name string) error {
	if p.detail != "" {
		return fmt.Errorf("%s does not start: %s\n%s", name, p.text, indent(p.detail))
	}
	return fmt.Errorf("%s does not start: %s", name, p.text)
}

func (r *rollout) timedOut(ctx context.Context, problems []problem) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	if len(problems) > 0 {
		return fmt.Errorf("waiting too long (--timeout): %w", problems[0].error(r.name))
	}
	return fmt.Errorf("waiting for deployment/%s too long (--timeout): see kubectl -n %s describe deployment %s", r.name, r.namespace, r.name)
}

// newPods returns the pods of d's newest template.
func (c *Client) newPods(ctx context.Context, d *appsv1.Deployment) ([]corev1.Pod, error) {
	selector := metav1.FormatLabelSelector(d.Spec.Selector)
	sets, err := c.Kube.AppsV1().ReplicaSets(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("listing replica sets of %s: %w", d.Name, err)
	}
	const revision = "deployment.kubernetes.io/revision"
	hash := ""
	for _, set := range sets.Items {
		if metav1.IsControlledBy(&set, d) && set.Annotations[revision] == d.Annotations[revision] {
			hash = set.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		}
	}
	if hash == "" {
		return nil, nil
	}
	pods, err := c.Kube.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: selector + "," + appsv1.DefaultDeploymentUniqueLabelKey + "=" + hash,
	})
	if err != nil {
		return nil, fmt.Errorf("listing pods of %s: %w", d.Name, err)
	}
	return living(pods.Items), nil
}

// living leaves out pods that are being deleted, and those that have ended:
// an evicted one stays to be looked at, and nothing in it answers any more.
func living(pods []corev1.Pod) []corev1.Pod {
	var kept []corev1.Pod
	for _, pod := range pods {
		ended := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
		if pod.DeletionTimestamp == nil && !ended {
			kept = append(kept, pod)
		}
	}
	return kept
}

func (r *rollout) podProblems(ctx context.Context, pod *corev1.Pod) []problem {
	if podReady(pod) {
		return nil
	}
	problems := r.client.claimProblems(ctx, pod)
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			problems = append(problems, problem{text: "no node takes the pod: " + condition.Message, patience: endlessPatience})
		}
	}
	statuses := append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...)
	for _, status := range statuses {
		problems = append(problems, r.containerProblems(ctx, pod, status)...)
	}
	if len(problems) == 0 && r.inspect != nil {
		problems = r.inspect(ctx, pod)
	}
	return problems
}

// containerProblems reads a container's state.
func (r *rollout) containerProblems(ctx context.Context, pod *corev1.Pod, status corev1.ContainerStatus) []problem {
	waiting := status.State.Waiting
	if waiting == nil {
		return nil
	}
	text := fmt.Sprintf("container %s: %s", status.Name, waiting.Reason)
	switch waiting.Reason {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError":
		// One text for the two that take turns, or the clock would start anew.
		return []problem{{text: fmt.Sprintf("container %s: image %s cannot be pulled", status.Name, status.Image), detail: waiting.Message, patience: shortPatience}}
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return []problem{{text: text + ": " + waiting.Message, patience: shortPatience}}
	case "CrashLoopBackOff":
		if last := status.LastTerminationState.Terminated; last != nil {
			text = fmt.Sprintf("container %s ends again and again (%s)", status.Name, exitText(last))
		}
		return []problem{{text: text, detail: r.client.lastLog(ctx, pod, status.Name, true), patience: longPatience}}
	}
	return nil
}

func exitText(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason == "OOMKilled":
		return "killed for its memory limit"
	case t.Signal != 0:
		return fmt.Sprintf("signal %d", t.Signal)
	}
	return fmt.Sprintf("exit code %d", t.ExitCode)
}

// lastLines is how many lines of a log a diagnosis shows.
const lastLines = 10

// lastLog returns the last lines of a container's log, or nothing.
func (c *Client) lastLog(ctx context.Context, pod *corev1.Pod, container string, previous bool) string {
	lines := int64(lastLines)
	text, err := c.Kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, TailLines: &lines, Previous: previous,
	}).DoRaw(ctx)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(text), "\n")
}

func podReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
