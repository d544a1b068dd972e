package inject

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"github.com/formicarium/formicarium/internal/api"
)

// ImageCommand is what an image runs where the pod names no command.
type ImageCommand struct {
	// Entrypoint and Cmd are as in the image's configuration.
	Entrypoint, Cmd []string
	// Caveat, where it is set, says in what the answer may be wrong.
	Caveat string
	// Fault, where it is set, says why nothing is known; the other fields are
	// empty then. Both texts end up in a warning, of which they may take 100
	// bytes.
	Fault string
}

// ImageQuery is what has to be found out before a pod can be injected, and
// what the pod says about the way to it.
type ImageQuery struct {
	// Images are references as the containers have them; none means that
	// nothing has to be found out.
	Images []string
	// PullSecrets name the Secrets of the pod's namespace that its images are
	// pulled with. The API server has put those of the service account among
	// them by the time that it asks a webhook.
	PullSecrets []string
	// OS and Architecture are those that the pod's node selector asks for,
	// empty where it does not.
	OS, Architecture string
}

// NeedsImages says which images' own commands Inject would need for this pod:
// those of containers that Stinger will supervise and that name no command.
// It is as pure as Inject is.
func NeedsImages(podJSON []byte, ns NamespaceInfo) (ImageQuery, error) {
	var pod corev1.Pod
	if err := kjson.Unmarshal(podJSON, &pod); err != nil {
		return ImageQuery{}, fmt.Errorf("decoding the pod: %w", err)
	}
	in := &injection{pod: &pod, ns: ns}
	if !in.ask().stinger || in.windows() {
		return ImageQuery{}, nil
	}
	in.readPrevious()
	q := ImageQuery{OS: pod.Spec.NodeSelector[corev1.LabelOSStable], Architecture: pod.Spec.NodeSelector[corev1.LabelArchStable]}
	for _, i := range in.targets() {
		c := pod.Spec.Containers[i]
		if len(c.Command) == 0 && c.Image != "" && !slices.Contains(q.Images, c.Image) {
			q.Images = append(q.Images, c.Image)
		}
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		if s.Name != "" && !slices.Contains(q.PullSecrets, s.Name) {
			q.PullSecrets = append(q.PullSecrets, s.Name)
		}
	}
	return q, nil
}

// wrapCommand makes Stinger the container's command and Stinger's command what
// the container would have run: the command that it names, else the image's
// entrypoint, followed by the arguments that it names, else, where it names
// neither, by those of the image. Arguments of the container stay where they
// are: they follow the command in any case.
//
// An unknown command is an error, for the application would not run, unless the
// container is there for the code that it waits for.
func (in *injection) wrapCommand(c corev1.Container, at []string) error {
	command := []string{stingerBinary, "run"}
	own, fault := in.imageCommand(c)
	switch {
	case len(c.Command) > 0:
		command = append(append(command, "--"), c.Command...)
	case fault == "":
		command = append(append(command, "--"), literally(own)...)
		if caveat := in.settings.Images[c.Image].Caveat; caveat != "" {
			in.warn("container %s names no command: that of its image is taken; %s", c.Name, caveat)
		}
	case !in.waitsForCode(c):
		return unknownCommandError(fault)
	default:
		in.warn("container %s names no command, and its image's is unknown: %s; give it a command, or its code a script .fmc/start", short(c.Name), fault)
		// Without the image's entrypoint the arguments are half a command.
		in.doc.remove(append(slices.Clone(at), "args")...)
	}
	in.doc.put(command, append(slices.Clone(at), "command")...)
	return nil
}

// unknownCommandError says why a container's command is unknown.
type unknownCommandError string

func (e unknownCommandError) Error() string {
	return fmt.Sprintf("it names no command, and its image's is unknown: %s; give it a command", string(e))
}

// imageCommand returns what the container's image adds to its arguments, or why
// that is unknown.
func (in *injection) imageCommand(c corev1.Container) (own []string, fault string) {
	image, looked := in.settings.Images[c.Image]
	own = image.Entrypoint
	if len(c.Args) == 0 {
		own = slices.Concat(image.Entrypoint, image.Cmd)
	}
	switch {
	case !looked && in.settings.assumeCommands:
		return nil, ""
	case !looked:
		return nil, "it was not asked for"
	case image.Fault != "":
		return nil, image.Fault
	case len(own)+len(c.Args) == 0:
		return nil, "it names none"
	}
	return own, ""
}

// waitsForCode reports whether Stinger is to start nothing in the container
// before there is code.
func (in *injection) waitsForCode(c corev1.Container) bool {
	if own, there := literal(c, api.EnvStingerWaitForCode); there {
		return own == "true"
	}
	return in.values[api.EnvStingerWaitForCode].text == "true"
}

// literally returns words so that the kubelet takes them as they are. It
// replaces $(VARIABLE) in a pod's command and makes $ of $$, but leaves an
// image's own command alone.
func literally(words []string) []string {
	escaped := make([]string, len(words))
	for i, word := range words {
		escaped[i] = strings.ReplaceAll(word, "$", "$$")
	}
	return escaped
}

// stingerInstall returns the container that copies Stinger into the pod.
func (in *injection) stingerInstall() corev1.Container {
	return corev1.Container{
		Name:            api.ContainerStingerInstall,
		Image:           in.settings.StingerImage,
		ImagePullPolicy: in.settings.PullPolicy,
		Command:         []string{"/stinger", "install", binPath},
		Resources:       in.settings.InitResources,
		VolumeMounts:    []corev1.VolumeMount{{Name: volumeBin, MountPath: binPath}},
		SecurityContext: restricted(in.installUser()),
	}
}

// installUser returns the user of stinger-install: the one that the pod or one
// of its containers names, unless that is root. Where users come from a range
// that belongs to the namespace, as in OpenShift, another is refused.
func (in *injection) installUser() int64 {
	var users []*int64
	if in.pod.Spec.SecurityContext != nil {
		users = append(users, in.pod.Spec.SecurityContext.RunAsUser)
	}
	for _, c := range in.pod.Spec.Containers {
		if c.Name != api.ContainerNetra && c.SecurityContext != nil {
			users = append(users, c.SecurityContext.RunAsUser)
		}
	}
	for _, user := range users {
		if user != nil && *user != 0 {
			return *user
		}
	}
	return stingerUID
}
