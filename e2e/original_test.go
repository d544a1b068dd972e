//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// testExitCodeStays runs pods under Stinger that have a purpose without code:
// one where the hub has none for it, one where no hub is. Each ends with its
// own exit code, under Pod Security restricted as well.
func testExitCodeStays(t *testing.T, s *system) {
	lonely := devspace + "-without-hub"
	s.kubectl(t, "create", "namespace", lonely)
	defer s.kubectl(t, "delete", "namespace", lonely, "--wait=false")
	s.kubectl(t, "label", "namespace", lonely, "pod-security.kubernetes.io/enforce=restricted")
	for _, namespace := range []string{devspace, lonely} {
		s.apply(t, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"code-3","namespace":%q,"annotations":{%q:%q}},"spec":{"restartPolicy":"Never",
			"securityContext":{"runAsNonRoot":true,"runAsUser":1000680000,"fsGroup":1000680000,"seccompProfile":{"type":"RuntimeDefault"}},
			"containers":[{"name":"main","image":"PYTHON","workingDir":"/usr","command":["python3","-c","import os, sys; sys.exit(3 if os.getcwd() == '/usr' else 4)"],
				"securityContext":{"readOnlyRootFilesystem":true,"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`,
			namespace, api.AnnotationInject, api.InjectStinger))
		s.kubectl(t, "wait", "-n", namespace, "--for=jsonpath={.status.phase}=Failed", "pod/code-3", "--timeout=90s")
		pod, err := s.Clients.CoreV1().Pods(namespace).Get(t.Context(), "code-3", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		end := pod.Status.ContainerStatuses[0].State.Terminated
		if end == nil || end.ExitCode != 3 || pod.Annotations[api.AnnotationStatus] == "" {
			t.Errorf("in %s the container ended with %+v, want exit code 3, and its status says %q", namespace, end, pod.Annotations[api.AnnotationStatus])
		}
	}
	s.kubectl(t, "delete", "pod", "-n", devspace, "code-3", "--wait=false")
}
