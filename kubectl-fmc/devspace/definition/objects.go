package definition

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Annotations that carry a service's settings to Stinger, through the webhook.
const (
	annotationGitURL         = api.Domain + "/git-url"
	annotationAppPath        = api.Domain + "/app-path"
	annotationScripts        = api.Domain + "/stinger-scripts"
	annotationStartAfterPull = api.Domain + "/start-after-pull"
	annotationWaitForCode    = api.Domain + "/stinger-wait-for-code"
)

// scriptsPath is where the scripts of a definition are in the container.
const scriptsPath = "/scripts"

// Objects returns what is applied for the service in a devspace, patched: a
// ConfigMap where there are scripts, a Service where there are ports, a
// PersistentVolumeClaim for a cache, and the Deployment last. All but the claim
// are named like the service.
func (s *Service) Objects(devspace string) ([]*unstructured.Unstructured, error) {
	var typed []runtime.Object
	if len(s.Scripts) > 0 {
		typed = append(typed, s.configMap(devspace))
	}
	if len(s.Ports) > 0 {
		typed = append(typed, s.service(devspace))
	}
	if s.Cache != nil {
		typed = append(typed, s.claim(devspace))
	}
	typed = append(typed, s.deployment(devspace))
	objects := make([]*unstructured.Unstructured, 0, len(typed))
	for _, t := range typed {
		object, err := convert(t)
		if err != nil {
			return nil, err
		}
		if object, err = s.patch(object); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, stamp(objects)
}

// stamp puts a hash of what pods are made of on the pod template, so that they
// are replaced when their scripts change, which are in another object.
func stamp(objects []*unstructured.Unstructured) error {
	deployment := objects[len(objects)-1]
	parts := []any{asMap(deployment.Object["spec"])["template"]}
	for _, object := range objects[:len(objects)-1] {
		if object.GetKind() == "ConfigMap" {
			parts = append(parts, object.Object)
		}
	}
	text, err := json.Marshal(parts)
	if err != nil {
		return fmt.Errorf("encoding objects: %w", err)
	}
	sum := sha256.Sum256(text)
	return unstructured.SetNestedField(deployment.Object, hex.EncodeToString(sum[:8]),
		"spec", "template", "metadata", "annotations", api.AnnotationDefinition)
}

// Labels are those of every object of a service.
func Labels(devspace, service string) map[string]string {
	return map[string]string{
		api.LabelManagedBy: api.FieldManager,
		api.LabelName:      service,
		api.LabelDevspace:  devspace,
		api.LabelService:   service,
	}
}

func (s *Service) meta(devspace string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: s.Name, Namespace: devspace, Labels: Labels(devspace, s.Name)}
}

func (s *Service) configMap(devspace string) *corev1.ConfigMap {
	data := map[string]string{}
	for name, script := range s.Scripts {
		if name == "env" || strings.Contains(name, ".") { // read by scripts, not run
			data[name] = script
			continue
		}
		data[name] = scriptText(script)
	}
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: s.meta(devspace),
		Data:       data,
	}
}

// scriptText makes a script executable: by the shell, and with an end at the
// first failing line, unless its first line says otherwise. Line ends are
// Unix's, whatever the file's.
func scriptText(script string) string {
	script = strings.TrimRight(strings.ReplaceAll(script, "\r\n", "\n"), "\n") + "\n"
	if strings.HasPrefix(script, "#!") {
		return script
	}
	return "#!/bin/sh\nset -e\n" + script
}

func (s *Service) service(devspace string) *corev1.Service {
	ports := make([]corev1.ServicePort, 0, len(s.Ports))
	for _, p := range s.Ports {
		ports = append(ports, corev1.ServicePort{Name: p.Name, Port: p.Port, TargetPort: intstr.FromInt32(p.Target), Protocol: p.Protocol})
	}
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: s.meta(devspace),
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: s.endpoints(), Ports: ports},
	}
}

// selector is the Deployment's, which can never be changed.
func (s *Service) selector() map[string]string {
	return map[string]string{api.LabelService: s.Name}
}

// endpoints is the Service's selector: the pods that a deploy made. The webhook
// puts the service's label on any pod of that name that asks for netra.
func (s *Service) endpoints() map[string]string {
	return map[string]string{api.LabelService: s.Name, api.LabelManagedBy: api.FieldManager}
}

func (s *Service) deployment(devspace string) *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: s.meta(devspace),
		Spec: appsv1.DeploymentSpec{
			Replicas: &s.Replicas,
			Selector: &metav1.LabelSelector{MatchLabels: s.selector()},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: s.podLabels(devspace), Annotations: s.podAnnotations()},
				Spec:       s.podSpec(),
			},
		},
	}
}

func (s *Service) podAnnotations() map[string]string {
	annotations := map[string]string{}
	maps.Copy(annotations, s.Annotations)
	annotations[api.AnnotationService] = s.Name
	annotations[api.AnnotationInject] = s.injection()
	if s.Installation != "" {
		annotations[api.AnnotationInstallation] = s.Installation
	}
	if !s.Synced() {
		return annotations
	}
	var containers []string
	for _, c := range s.Containers {
		if c.Sync {
			containers = append(containers, c.Name)
		}
	}
	annotations[api.AnnotationContainer] = strings.Join(containers, ",")
	annotations[annotationGitURL] = fmt.Sprintf("https://%s:%d/%s.git", api.HubName, api.HubServicePort, s.Name)
	annotations[annotationStartAfterPull] = strconv.FormatBool(s.Restart)
	annotations[annotationWaitForCode] = "true" // without it there is nothing to run
	s.addReload(annotations)
	if s.AppPath != "" {
		annotations[annotationAppPath] = s.AppPath
	}
	if len(s.Scripts) > 0 {
		annotations[annotationScripts] = scriptsPath
	}
	return annotations
}

// injection is what the webhook is asked to put into the pod.
func (s *Service) injection() string {
	switch {
	case s.Synced() && s.Trace:
		return api.InjectEnabled
	case s.Synced():
		return api.InjectStinger
	case s.Trace:
		return api.InjectNetra
	}
	return api.InjectDisabled
}

func (s *Service) podSpec() corev1.PodSpec {
	no := false
	spec := corev1.PodSpec{
		// A service that talks to the API server says so by a patch.
		AutomountServiceAccountToken: &no,
		// Variables for every Service of the namespace would change with the
		// order of deploys.
		EnableServiceLinks: &no,
		SecurityContext:    &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
	}
	if len(s.Scripts) > 0 {
		mode := int32(0o555)
		spec.Volumes = []corev1.Volume{{Name: "scripts", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: s.Name}, DefaultMode: &mode,
		}}}}
	}
	stingerPort := int32(api.StingerPort)
	for _, c := range s.Containers {
		spec.Containers = append(spec.Containers, s.container(c, stingerPort))
		if c.Sync {
			stingerPort++
		}
	}
	s.addVolumes(&spec)
	return spec
}

func (s *Service) container(c Container, stingerPort int32) corev1.Container {
	no := false
	container := corev1.Container{
		Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args, Env: c.Env,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Resources:       withLimit(c.Resources),
		SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no},
		ReadinessProbe:  c.probe(stingerPort),
	}
	listed := map[string]bool{}
	for _, p := range s.Ports {
		// Two of the Service's may lead to one of the container's.
		target := Port{Port: p.Target, Protocol: p.Protocol}.number()
		if p.Container == c.Name && !listed[target] {
			listed[target] = true
			container.Ports = append(container.Ports, corev1.ContainerPort{Name: p.Name, ContainerPort: p.Target, Protocol: p.Protocol})
		}
	}
	if c.Sync && len(s.Scripts) > 0 {
		container.VolumeMounts = []corev1.VolumeMount{{Name: "scripts", MountPath: scriptsPath, ReadOnly: true}}
		if s.Scripts["start"] != "" {
			// What Stinger runs anyway; named here so that nobody has to ask a
			// registry for the image's own command.
			container.Command = []string{scriptsPath + "/start"}
		}
	}
	return container
}

// DefaultMemoryLimit is what a devspace gives a container that has no limit of
// its own; it refuses one that requests more.
var DefaultMemoryLimit = resource.MustParse("1Gi")

// withLimit gives a container that requests more memory than it would be
// allowed a limit of what it requests.
func withLimit(r corev1.ResourceRequirements) corev1.ResourceRequirements {
	request, asked := r.Requests[corev1.ResourceMemory]
	_, limited := r.Limits[corev1.ResourceMemory]
	if !asked || limited || request.Cmp(DefaultMemoryLimit) <= 0 {
		return r
	}
	limits := corev1.ResourceList{corev1.ResourceMemory: request}
	maps.Copy(limits, r.Limits)
	r.Limits = limits
	return r
}

// probe tells whether the container is ready: by its definition, else by
// Stinger, for which ready means that the code is there and the process runs.
func (c Container) probe(stingerPort int32) *corev1.Probe {
	probe := &corev1.Probe{PeriodSeconds: 2, TimeoutSeconds: 2, FailureThreshold: 3}
	switch {
	case c.Readiness == nil && !c.Sync:
		return nil
	case c.Readiness == nil:
		probe.PeriodSeconds = 1
		probe.HTTPGet = &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(stingerPort), Scheme: corev1.URISchemeHTTPS}
	case len(c.Readiness.Command) > 0:
		probe.Exec = &corev1.ExecAction{Command: c.Readiness.Command}
	case c.Readiness.Path != "":
		probe.HTTPGet = &corev1.HTTPGetAction{Path: c.Readiness.Path, Port: intstr.FromInt32(c.Readiness.Port)}
	default:
		probe.TCPSocket = &corev1.TCPSocketAction{Port: intstr.FromInt32(c.Readiness.Port)}
	}
	return probe
}

// convert turns a typed object into what is applied: without status and other
// fields that are the cluster's to write, which an apply would claim.
func convert(object runtime.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("converting %T: %w", object, err)
	}
	for _, path := range [][]string{
		{"status"},
		{"metadata", "creationTimestamp"},
		{"spec", "strategy"},
		{"spec", "template", "metadata", "creationTimestamp"},
	} {
		unstructured.RemoveNestedField(content, path...)
	}
	containers, _, _ := unstructured.NestedSlice(content, "spec", "template", "spec", "containers")
	for _, c := range containers {
		if container, ok := c.(map[string]any); ok && len(asMap(container["resources"])) == 0 {
			delete(container, "resources")
		}
	}
	if containers != nil {
		if err := unstructured.SetNestedSlice(content, containers, "spec", "template", "spec", "containers"); err != nil {
			return nil, fmt.Errorf("converting %T: %w", object, err)
		}
	}
	return &unstructured.Unstructured{Object: content}, nil
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
