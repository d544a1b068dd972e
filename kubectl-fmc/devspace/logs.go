package devspace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/formicarium/formicarium/internal/api"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LogsConfig says which logs to show.
type LogsConfig struct {
	Devspace, Service string
	// Container is one of the pod's; empty means the service's own, without
	// what was injected.
	Container string
	Follow    bool
	// Problems is told what cannot be followed for now.
	Problems io.Writer
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
	ctx, cancel := context.WithCancel(ctx)
	if cfg.Problems == nil {
		cfg.Problems = io.Discard
	}
	cfg.Problems = SyncWriter(cfg.Problems)
	l := &logs{client: c, cfg: cfg, out: SyncWriter(out), shown: map[string]*shown{}}
	defer l.wait.Wait()
	defer cancel() // first, or the copies would be waited for in vain
	for {
		pods, err := c.servicePods(ctx, cfg.Devspace, cfg.Service)
		if err == nil {
			err = l.start(ctx, pods)
		}
		switch {
		case !cfg.Follow:
			l.wait.Wait()
			return errors.Join(err, l.err())
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errNoContainer):
			return err
		default:
			l.complain(&l.complained, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.FollowEvery):
		}
	}
}

// DefaultFollowEvery is how often followed logs look for pods that came, and
// for containers that were started again.
const DefaultFollowEvery = time.Second

// logs is a copy of several logs at work.
type logs struct {
	client     *Client
	cfg        LogsConfig
	out        io.Writer
	wait       sync.WaitGroup
	shown      map[string]*shown // by pod/container
	complained string            // of the list of pods

	mu     sync.Mutex // guards what follows, and each shown's open
	faults []error
}

// shown is a log that is shown, or was as far as it went. A stream ends with
// its container, which may be started again, and with the API server's
// connection, so it is opened again while the pod is there.
type shown struct {
	open       bool
	prefix     string
	complained string
	restarts   int32 // of the container whose log it is
	// last is the time of the last line that was shown; again how many lines
	// bore it. Lines are asked for by the second, so some come twice.
	last  time.Time
	again int
}

var errNoContainer = errors.New("no such container")

// complain tells of a failure, but not again what it told last: it is tried
// again each second.
func (l *logs) complain(last *string, err error) {
	switch {
	case err == nil:
		*last = ""
	case err.Error() != *last:
		*last = err.Error()
		fmt.Fprintf(l.cfg.Problems, "not followed, trying again: %s\n", *last)
	}
}

// start starts to copy what is not copied yet, or not any more.
func (l *logs) start(ctx context.Context, pods []corev1.Pod) error {
	several := len(pods) > 1 || len(l.shown) > 0
	for i := range pods {
		names, err := l.containers(&pods[i])
		if err != nil {
			return err
		}
		for _, name := range names {
			if l.cfg.Follow && !hasStarted(&pods[i], name) {
				continue
			}
			key := pods[i].Name + "/" + name
			prefix := ""
			switch {
			case len(names) > 1:
				prefix = key + " "
			case several:
				prefix = pods[i].Name + " "
			}
			l.startOne(ctx, &pods[i], name, key, prefix)
		}
	}
	return nil
}

func (l *logs) startOne(ctx context.Context, pod *corev1.Pod, name, key, prefix string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.shown[key]
	status := containerStatus(pod, name)
	tail := l.cfg.Tail
	switch {
	case known == nil:
		if len(l.shown) > 0 && l.cfg.Follow && tail >= 0 && tail < manyLines {
			tail = manyLines // a pod that came later is new from its first line
		}
		known = &shown{prefix: prefix}
		l.shown[key] = known
	case known.open, known.restarts == status.RestartCount && status.State.Running == nil:
		return // it goes on, or is at its end
	default:
		tail = -1 // since the last line that was shown
	}
	known.open, known.restarts = true, status.RestartCount
	l.wait.Go(func() {
		err := l.copy(ctx, pod.Name, name, tail, known)
		l.mu.Lock()
		defer l.mu.Unlock()
		known.open = false
		switch {
		case ctx.Err() != nil:
		case l.cfg.Follow:
			l.complain(&known.complained, err)
		case err != nil:
			l.faults = append(l.faults, err)
		}
	})
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
	return nil, fmt.Errorf("%w: pod %s has no %q, it has %v", errNoContainer, pod.Name, l.cfg.Container, all)
}

func hasStarted(pod *corev1.Pod, name string) bool {
	s := containerStatus(pod, name)
	return s.State.Running != nil || s.State.Terminated != nil || s.RestartCount > 0
}

// containerStatus returns a container's status; an empty one where there is
// none yet.
func containerStatus(pod *corev1.Pod, name string) corev1.ContainerStatus {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.Name == name {
			return s
		}
	}
	return corev1.ContainerStatus{}
}

func (l *logs) copy(ctx context.Context, pod, container string, tail int64, known *shown) error {
	options := &corev1.PodLogOptions{Container: container, Follow: l.cfg.Follow, Timestamps: l.cfg.Follow}
	if tail >= 0 {
		options.TailLines = &tail
	}
	if !known.last.IsZero() {
		since := metav1.NewTime(known.last)
		options.SinceTime = &since
	}
	stream, err := l.client.Kube.CoreV1().Pods(l.cfg.Devspace).GetLogs(pod, options).Stream(ctx)
	if err != nil {
		return fmt.Errorf("reading the log of %s/%s: %w", pod, container, err)
	}
	defer stream.Close()
	if !l.cfg.Follow {
		return copyLines(l.out, stream, known.prefix, nil)
	}
	return copyLines(l.out, stream, known.prefix, known.filter())
}

// filter returns what takes the time off a line, and tells whether the line is
// to be shown: a log that is opened again begins with the second of the last
// line.
func (s *shown) filter() func(line []byte) ([]byte, bool) {
	last, skip := s.last, s.again
	return func(line []byte) ([]byte, bool) {
		stamp, text, found := bytes.Cut(line, []byte(" "))
		at, err := time.Parse(time.RFC3339Nano, string(stamp))
		if !found || err != nil {
			return line, true // the kubelet's own words
		}
		switch {
		case at.Before(last):
			return nil, false
		case at.Equal(last) && skip > 0:
			skip--
			return nil, false
		case at.Equal(s.last):
			s.again++
		default:
			s.last, s.again = at, 1
		}
		return text, true
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

// copyLines copies whole lines with a prefix; longer ones come in parts. A
// filter, where there is one, is asked for each line's beginning.
func copyLines(out io.Writer, in io.Reader, prefix string, filter func([]byte) ([]byte, bool)) error {
	reader := bufio.NewReaderSize(in, maxLine)
	inside, show := false, true // of a line that comes in parts
	for {
		line, err := reader.ReadSlice('\n')
		text := line
		if len(line) > 0 && filter != nil && !inside {
			text, show = filter(line)
		}
		inside = err == bufio.ErrBufferFull
		if len(line) > 0 && show {
			whole := prefix + string(text)
			if err != nil && !inside && !strings.HasSuffix(whole, "\n") {
				whole += "\n"
			}
			if _, err := io.WriteString(out, whole); err != nil {
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
