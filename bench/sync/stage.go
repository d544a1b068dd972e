package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/formicarium/formicarium/bench/sync/stream"
	"github.com/formicarium/formicarium/e2e/harness"
	"github.com/formicarium/formicarium/internal/api"
)

// space is the benchmark's own, and gone when it ends.
const space = "bench-sync"

// patience is how long anything on the cluster may take that is not measured.
const patience = 2 * time.Minute

// stage is the cluster and a folder of the benchmark's own.
type stage struct {
	*harness.Harness
	config *rest.Config
	folder string
	keep   bool
	log    io.Writer
}

func openStage(ctx context.Context, s settings, stderr io.Writer) (_ *stage, err error) {
	folder, err := os.MkdirTemp("", "bench-sync-")
	if err != nil {
		return nil, err
	}
	st := &stage{folder: folder, keep: s.keep, log: stderr}
	options := harness.Options{Home: folder}
	if s.verbose {
		options.Out = stderr
	}
	if st.Harness, err = harness.Open(ctx, options); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if st.config, err = clientcmd.BuildConfigFromFlags("", st.Kubeconfig); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if _, err = st.FMC(ctx, st.InstallArgs()...); err == nil {
		_, err = st.FMC(ctx, "devspace", "create", space)
	}
	if err != nil {
		return nil, errors.Join(err, st.close())
	}
	return st, nil
}

// close leaves nothing behind, also where ctx has ended.
func (st *stage) close() error {
	var err error
	if !st.keep {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err = st.FMC(ctx, "devspace", "delete", space, "--yes")
		_, uninstalled := st.FMC(ctx, "uninstall", "--yes")
		err = errors.Join(err, uninstalled)
	}
	return errors.Join(err, os.RemoveAll(st.folder))
}

func (st *stage) say(format string, values ...any) { fmt.Fprintf(st.log, format+"\n", values...) }

// The parts of a pod that both sides have: an init container that waits until
// the probe is copied in, and the content container.
const (
	waitContainer = "wait"
	contentPort   = 8080
	processPort   = 8081
)

// definition is the service that the plugin deploys. The two lines of shell are
// run once, before anything is measured.
const definition = `services:
  %[1]s:
    path: %[2]s
    image: %[3]s
    command: [/bench/probe, process]
    trace: false
    patches:
      - kind: Deployment
        patch:
          - {op: add, path: /spec/template/spec/volumes, value: [{name: tree, emptyDir: {}}, {name: bench, emptyDir: {}}]}
          - {op: add, path: /spec/template/spec/containers/0/volumeMounts, value: [{name: tree, mountPath: /app}, {name: bench, mountPath: /bench}]}
          - op: add
            path: /spec/template/spec/initContainers
            value: [{name: wait, image: %[3]s, command: [sh, -c, "until test -x /bench/probe; do sleep 0.1; done"], volumeMounts: [{name: bench, mountPath: /bench}]}]
          - op: add
            path: /spec/template/spec/containers/-
            value: {name: content, image: %[3]s, command: [/bench/probe, content], volumeMounts: [{name: tree, mountPath: /app}, {name: bench, mountPath: /bench}]}
          - {op: add, path: /spec/template/spec/terminationGracePeriodSeconds, value: 2}
`

// deploy deploys a service with the plugin, from a directory of one file, and
// returns its pod's address.
func (st *stage) deploy(ctx context.Context, name string) (pod, address string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	first := filepath.Join(st.folder, "first")
	if err := os.MkdirAll(first, 0o755); err != nil {
		return "", "", err
	}
	if err := os.WriteFile(filepath.Join(first, "README.md"), []byte("The first file.\n"), 0o644); err != nil {
		return "", "", err
	}
	file := filepath.Join(st.folder, name+".yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, definition, name, first, st.Images.Python), 0o644); err != nil {
		return "", "", err
	}
	deployed := make(chan error, 1)
	go func() {
		_, err := st.FMC(ctx, "deploy", name, "-f", file, "-n", space)
		deployed <- err
	}()
	pod, err = st.putProbe(ctx, api.LabelService+"="+name)
	if err := errors.Join(err, <-deployed); err != nil {
		return "", "", err
	}
	address, err = st.address(ctx, pod)
	return pod, address, err
}

// plain starts a pod without anything of Formicarium's.
func (st *stage) plain(ctx context.Context, name string) (address string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	mounts := []corev1.VolumeMount{{Name: "tree", MountPath: "/app"}, {Name: "bench", MountPath: "/bench"}}
	empty := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	grace := int64(1)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: space, Labels: map[string]string{"bench": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Volumes:                       []corev1.Volume{{Name: "tree", VolumeSource: empty}, {Name: "bench", VolumeSource: empty}},
			InitContainers: []corev1.Container{{
				Name: waitContainer, Image: st.Images.Python, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"sh", "-c", "until test -x /bench/probe; do sleep 0.1; done"}, VolumeMounts: mounts,
			}},
			Containers: []corev1.Container{{
				Name: "content", Image: st.Images.Python, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"/bench/probe", "pair"}, VolumeMounts: mounts,
			}},
		},
	}
	if _, err := st.Clients.CoreV1().Pods(space).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return "", fmt.Errorf("starting a plain pod: %w", err)
	}
	if _, err := st.putProbe(ctx, "bench="+name); err != nil {
		return "", err
	}
	return st.address(ctx, name)
}

// remove removes what deploy or plain made and waits until the pod is gone, so
// that it takes nothing from what is measured next.
func (st *stage) remove(ctx context.Context, name string, deployed bool) error {
	now := metav1.DeleteOptions{}
	if deployed {
		if err := st.Clients.AppsV1().Deployments(space).Delete(ctx, name, now); err != nil {
			return fmt.Errorf("removing %s: %w", name, err)
		}
		return st.await(ctx, "the end of "+name, func() bool { return len(st.pods(ctx, api.LabelService+"="+name)) == 0 })
	}
	if err := st.Clients.CoreV1().Pods(space).Delete(ctx, name, now); err != nil {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return st.await(ctx, "the end of "+name, func() bool { return len(st.pods(ctx, "bench="+name)) == 0 })
}

// pods returns the pods that a selector selects; none where it cannot be asked.
func (st *stage) pods(ctx context.Context, selector string) []corev1.Pod {
	list, err := st.Clients.CoreV1().Pods(space).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil
	}
	return list.Items
}

// putProbe copies the probe into the pod that the selector selects, while that
// waits for it, and returns its name.
func (st *stage) putProbe(ctx context.Context, selector string) (name string, err error) {
	waiting := func() bool {
		for _, pod := range st.pods(ctx, selector) {
			for _, c := range pod.Status.InitContainerStatuses {
				if c.Name == waitContainer && c.State.Running != nil {
					name = pod.Name
				}
			}
		}
		return name != ""
	}
	if err := st.await(ctx, "a pod of "+selector, waiting); err != nil {
		return "", err
	}
	program, err := os.Open(filepath.Join(st.Root, "bin", "bench-sync-probe"))
	if err != nil {
		return "", fmt.Errorf("looking for the probe: %w (run `make bench-sync`)", err)
	}
	defer program.Close()
	const put = "cat > /bench/new && chmod 755 /bench/new && mv /bench/new /bench/probe"
	return name, stream.ExecIn(ctx, st.config, space, name, waitContainer, []string{"sh", "-c", put}, program, io.Discard)
}

// address waits until the pod runs.
func (st *stage) address(ctx context.Context, pod string) (address string, err error) {
	err = st.await(ctx, "pod "+pod, func() bool {
		found, err := st.Clients.CoreV1().Pods(space).Get(ctx, pod, metav1.GetOptions{})
		if err != nil || found.Status.Phase != corev1.PodRunning {
			return false
		}
		address = found.Status.PodIP
		return true
	})
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	return address, err
}

// await asks every 100 ms until it is so.
func (st *stage) await(ctx context.Context, what string, so func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !so() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}
