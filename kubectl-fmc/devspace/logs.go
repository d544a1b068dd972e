package devspace

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	corev1 "k8s.io/api/core/v1"
)

// LogsConfig says which logs to show.
type LogsConfig struct {
	Devspace, Service string
	// Container is one of the pod's; empty means the service's own, without
	// what was injected.
	Container string
	Follow    bool
	// Tail is how many lines to show of each container; negative means all.
	Tail int64
}

// Logs copies the logs of a service's pods to out, line by line, each with its
// pod's name where there are several. While following, pods that come are
// followed too.
func (c *Client) Logs(ctx context.Context, cfg LogsConfig, out io.Writer) error {
	if err := c.checkService(ctx, cfg.Devspace, cfg.Service); err != nil {
		return err
	}
	l := &logs{client: c, cfg: cfg, out: SyncWriter(out), seen: map[string]bool{}}
	defer l.wait.Wait()
	for {
		pods, err := c.servicePods(ctx, cfg.Devspace, cfg.Service)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err := l.start(ctx, pods); err != nil {
			return err
		}
		if !cfg.Follow {
			l.wait.Wait()
			return l.err()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// logs is a copy of several logs at work.
type logs struct {
	client *Client
	cfg    LogsConfig
	out    io.Writer
	wait   sync.WaitGroup
	seen   map[string]bool // pod/container that are shown or were

	mu     sync.Mutex
	faults []error
}

// start starts to copy what is not copied yet.
func (l *logs) start(ctx context.Context, pods []corev1.Pod) error {
	several := len(pods) > 1 || len(l.seen) > 0
	for i := range pods {
		names, err := l.containers(&pods[i])
		if err != nil {
			return err
		}
		for _, name := range names {
			key := pods[i].Name + "/" + name
			if l.seen[key] || !hasStarted(&pods[i], name) && l.cfg.Follow {
				continue
			}
			prefix := ""
			switch {
			case len(names) > 1:
				prefix = key + " "
			case several:
				prefix = pods[i].Name + " "
			}
			tail := l.cfg.Tail
			if len(l.seen) > 0 && l.cfg.Follow && tail >= 0 && tail < manyLines {
				tail = manyLines // a pod that came later is new from its first line
			}
			l.seen[key] = true
			l.wait.Go(func() { l.copy(ctx, pods[i].Name, name, prefix, tail) })
		}
	}
	return nil
}

// manyLines is enough for all that a new pod wrote within a second.
const manyLines = 1000

// containers returns which containers of the pod to show.
func (l *logs) containers(pod *corev1.Pod) ([]string, error) {
	var own, all []string
	for _, c := range pod.Spec.InitContainers {
		all = append(all, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		all = append(all, c.Name)
		if c.Name != api.ContainerNetra {
			own = append(own, c.Name)
		}
	}
	if l.cfg.Container == "" {
		return own, nil
	}
	for _, name := range all {
		if name == l.cfg.Container {
			return []string{name}, nil
		}
	}
	return nil, fmt.Errorf("pod %s has no container %q: it has %v", pod.Name, l.cfg.Container, all)
}

func hasStarted(pod *corev1.Pod, name string) bool {
	statuses := append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...)
	for _, s := range statuses {
		if s.Name == name {
			return s.State.Running != nil || s.State.Terminated != nil || s.RestartCount > 0
		}
	}
	return false
}

func (l *logs) copy(ctx context.Context, pod, container, prefix string, tail int64) {
	options := &corev1.PodLogOptions{Container: container, Follow: l.cfg.Follow}
	if tail >= 0 {
		options.TailLines = &tail
	}
	err := func() error {
		stream, err := l.client.Kube.CoreV1().Pods(l.cfg.Devspace).GetLogs(pod, options).Stream(ctx)
		if err != nil {
			return fmt.Errorf("reading the log of %s/%s: %w", pod, container, err)
		}
		defer stream.Close()
		return copyLines(l.out, stream, prefix)
	}()
	if err != nil && ctx.Err() == nil {
		l.mu.Lock()
		l.faults = append(l.faults, err)
		l.mu.Unlock()
	}
}

func (l *logs) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.faults) > 0 {
		return l.faults[0]
	}
	return nil
}

// maxLine bounds how much of a line is held back to write it as a whole. The
// kubelet itself splits lines at 16 KiB.
const maxLine = 64 << 10

// copyLines copies whole lines with a prefix; longer ones come in parts.
func copyLines(out io.Writer, in io.Reader, prefix string) error {
	reader := bufio.NewReaderSize(in, maxLine)
	for {
		line, err := reader.ReadSlice('\n')
		if len(line) > 0 {
			text := prefix + string(line)
			if err == io.EOF {
				text += "\n"
			}
			if _, err := io.WriteString(out, text); err != nil {
				return err
			}
		}
		switch err {
		case nil, bufio.ErrBufferFull:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// SyncWriter lets several goroutines write to w, one Write at a time.
func SyncWriter(w io.Writer) io.Writer {
	if s, ok := w.(*syncWriter); ok {
		return s
	}
	return &syncWriter{w: w}
}

type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
