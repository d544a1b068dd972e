// Package stream runs commands in containers over the API server, as kubectl
// exec does.
package stream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// Exec runs a command in the pod's first container that is not an init
// container, to its end.
func Exec(ctx context.Context, config *rest.Config, namespace, pod string, command []string, stdin io.Reader, stdout io.Writer) error {
	return ExecIn(ctx, config, namespace, pod, "", command, stdin, stdout)
}

// ExecIn is Exec in the named container.
func ExecIn(ctx context.Context, config *rest.Config, namespace, pod, container string, command []string, stdin io.Reader, stdout io.Writer) error {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	url := clients.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdin: stdin != nil, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, url.String())
	if err != nil {
		return fmt.Errorf("making an exec stream to %s: %w", pod, err)
	}
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: os.Stderr}); err != nil {
		return fmt.Errorf("running %q in %s: %w", command[0], pod, err)
	}
	return nil
}
