package inject

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/formicarium/formicarium/internal/api"
)

// Where things are in a supervised container, and the volumes they are on. All
// volumes that are written to are emptyDirs, which any user may write to, so that
// neither the image's user nor a read-only root filesystem matters.
const (
	fmcRoot       = "/fmc"
	binPath       = fmcRoot + "/bin"
	statePath     = fmcRoot + "/state"
	identityPath  = api.IdentityPath
	stingerBinary = binPath + "/stinger"
	// defaultApp is where the code goes in a container that is made for it,
	// separateApp in any other: there the image's own files have to stay seen,
	// wherever they are.
	defaultApp  = "/app"
	separateApp = fmcRoot + "/app"

	volumeBin      = "fmc-bin"
	volumeApp      = "fmc-app"
	volumeState    = "fmc-state"
	volumeIdentity = "fmc-identity"

	// stingerUID is the user of stinger-install, that of the image, where the
	// pod names no other; any user but root would do.
	stingerUID = 65532
)

// addStinger puts Stinger in front of the containers asked for and returns
// where it listens in each, or why it is in none.
func (in *injection) addStinger() ([]api.StingerEndpoint, Reason) {
	if volume := in.takenVolume(); volume != "" {
		return nil, Reason{Code: CodeNameTaken, Text: fmt.Sprintf("the pod has a volume named %s of its own", volume)}
	}
	install := containerNamed(in.pod.Spec.InitContainers, api.ContainerStingerInstall) >= 0
	if install && !in.wasInjected(PartStinger) {
		return nil, Reason{Code: CodeNameTaken, Text: fmt.Sprintf("the pod has a container named %s of its own", api.ContainerStingerInstall)}
	}
	var endpoints []api.StingerEndpoint
	changed := false
	none := Reason{Code: CodeNoContainer, Text: "the pod has no container that it could supervise"}
	targets := in.targets()
	taken := in.takenPorts(targets)
	for _, i := range targets {
		if port, ok := in.supervised(i); ok {
			in.tellOlder(in.pod.Spec.Containers[i])
			endpoints = append(endpoints, api.StingerEndpoint{Container: in.pod.Spec.Containers[i].Name, Port: port})
			continue
		}
		port, err := in.supervise(i, taken)
		if err != nil {
			in.warn("container %s is not supervised: %v", in.pod.Spec.Containers[i].Name, err)
			if errors.As(err, new(unknownCommandError)) {
				none = Reason{Code: CodeCommandUnknown, Text: "no container's command is known"}
			}
			continue
		}
		endpoints = append(endpoints, api.StingerEndpoint{Container: in.pod.Spec.Containers[i].Name, Port: port})
		taken[port] = stingerOf(in.pod.Spec.Containers[i])
		changed = true
	}
	if len(endpoints) == 0 {
		return nil, none
	}
	if !install {
		in.doc.insert(in.ownInitContainers(), []string{"spec", "initContainers"}, in.stingerInstall())
		changed = true
	}
	in.addVolume(emptyDir(volumeBin))
	in.mendAudience()
	in.mendProbes(endpoints)
	if in.pod.Spec.HostNetwork && in.pod.Spec.DNSPolicy != corev1.DNSClusterFirstWithHostNet {
		in.warn("the pod uses the node's network and its DNS: set dnsPolicy to ClusterFirstWithHostNet, or Stinger will not find the hub")
	}
	if !changed {
		return endpoints, Reason{Code: CodeAlready}
	}
	return endpoints, Reason{Code: CodeInjected}
}

// targets returns the places of the containers that are to be supervised.
func (in *injection) targets() []int {
	containers := in.pod.Spec.Containers
	var names []string
	for name := range strings.SplitSeq(in.pod.Annotations[api.AnnotationContainer], ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		// Somebody else's webhook may have put a container before the one
		// that was the first the last time.
		for _, s := range in.previous.Stingers {
			names = append(names, s.Container)
		}
	}
	if len(names) == 0 {
		first := in.application()
		if first < 0 {
			return nil
		}
		return []int{first}
	}
	var all []string
	for _, c := range containers {
		all = append(all, c.Name)
	}
	var targets []int
	for _, name := range names {
		i := slices.Index(all, name)
		if i < 0 {
			in.warn("%s: the pod has no container %q%s", api.AnnotationContainer, short(name), suggest(name, all))
			continue
		}
		targets = append(targets, i)
	}
	return targets
}

// supervised reports whether the container runs under Stinger already, and on
// which port that listens.
func (in *injection) supervised(i int) (port int, ok bool) {
	c := in.pod.Spec.Containers[i]
	if len(c.Command) == 0 || c.Command[0] != stingerBinary {
		return 0, false
	}
	for _, s := range in.previous.Stingers {
		if s.Container == c.Name {
			return s.Port, true
		}
	}
	if v, _ := literal(c, api.EnvStingerPort); v != "" {
		port, _ = strconv.Atoi(v)
	}
	if port == 0 {
		port = api.StingerPort
	}
	return port, true
}

// takenPorts returns whose each port is at which Stinger cannot listen: the
// containers of a pod share its ports, and those that an earlier injection gave
// to containers further down are given.
func (in *injection) takenPorts(targets []int) map[int]string {
	taken := map[int]string{}
	if in.netraAsked {
		for _, port := range in.netraPorts() {
			taken[port] = "netra's"
		}
	}
	for _, c := range in.pod.Spec.Containers {
		for _, p := range c.Ports {
			if isTCP(p) {
				taken[int(p.ContainerPort)] = "container " + c.Name + "'s"
			}
		}
	}
	for _, i := range targets {
		c := in.pod.Spec.Containers[i]
		port, ok := in.supervised(i)
		if !ok { // it may name one, which nobody else gets
			v, _ := literal(c, api.EnvStingerPort)
			port, _ = strconv.Atoi(v)
		}
		if port > 0 && taken[port] == "" {
			taken[port] = stingerOf(c)
		}
	}
	return taken
}

func stingerOf(c corev1.Container) string { return "that of the Stinger of container " + short(c.Name) }

// supervise puts Stinger in front of container i and returns its port.
func (in *injection) supervise(i int, taken map[int]string) (int, error) {
	c := in.pod.Spec.Containers[i]
	at := []string{"spec", "containers", strconv.Itoa(i)}
	for _, ours := range []corev1.VolumeMount{{Name: volumeBin, MountPath: binPath}, {Name: volumeIdentity, MountPath: identityPath}} {
		if m, ok := mountAt(c, ours.MountPath); ok && m.Name != ours.Name {
			return 0, fmt.Errorf("it mounts a volume of its own at %s", ours.MountPath)
		}
	}
	port, err := in.stingerPort(c, taken)
	if err != nil {
		return 0, err
	}
	if err := in.checkOwnDirectory(c); err != nil {
		return 0, err
	}
	// In this order the operations read as the container does.
	if err := in.wrapCommand(c, at); err != nil {
		return 0, err
	}
	app := in.addEnvironment(c, at, port)
	in.addMounts(c, at, app)
	return port, nil
}

// stingerPort returns the port that the container's environment names, else
// the first that is free.
func (in *injection) stingerPort(c corev1.Container, taken map[int]string) (int, error) {
	if v, there := literal(c, api.EnvStingerPort); there {
		port, err := strconv.Atoi(v)
		if err != nil || port < 1 || port > 65535 {
			return 0, fmt.Errorf("its %s is %q: want a port, written in the pod itself", api.EnvStingerPort, short(v))
		}
		if whose := taken[port]; whose != "" && whose != stingerOf(c) {
			return 0, fmt.Errorf("its %s is %d, which is %s", api.EnvStingerPort, port, whose)
		}
		return port, nil
	}
	for port := api.StingerPort; port < api.HubServicePort; port++ {
		if taken[port] == "" {
			return port, nil
		}
	}
	return 0, fmt.Errorf("ports %d to %d are all in use", api.StingerPort, api.HubServicePort-1)
}

// addEnvironment adds Stinger's variables to those of the container, which
// win, and returns the directory that the code goes to.
//
// A container that is not there for its code has a program of its own, to which
// APP_PATH or GIT_URL may mean something else, be it from its image, which is not
// seen here. So Stinger's have names there that are nobody else's.
func (in *injection) addEnvironment(c corev1.Container, at []string, port int) (app string) {
	set := map[string]string{
		api.EnvGitURL:             fmt.Sprintf("%s/%s.git", in.settings.HubURL, in.service),
		api.EnvAppPath:            separateApp,
		api.EnvStingerPort:        strconv.Itoa(port),
		api.EnvStingerState:       statePath,
		api.EnvStingerWaitForCode: "false",
	}
	waits := in.waitsForCode(c)
	if waits {
		set[api.EnvAppPath] = defaultApp
	}
	maps.Copy(set, in.values.of(toStinger))
	if !waits {
		for _, name := range api.SharedStingerVariables {
			if v, there := set[name]; there {
				delete(set, name)
				set[api.StingerOwn(name)] = v
			}
		}
	}
	app = set[api.EnvAppPath] + set[api.StingerOwn(api.EnvAppPath)]
	var list []any
	for _, v := range environ(set) {
		own, there := literal(c, v.Name)
		if !there {
			list = append(list, v)
			continue
		}
		if v.Name == api.EnvAppPath && path.IsAbs(own) {
			app = own
		}
		if own != v.Value {
			in.warn("container %s sets %s itself: that value stays", c.Name, v.Name)
		}
	}
	in.doc.add(append(slices.Clone(at), "env"), list...)
	return app
}

// checkOwnDirectory reports a directory that the container names for its code
// and that no volume can be mounted at.
func (in *injection) checkOwnDirectory(c corev1.Container) error {
	own, there := literal(c, api.EnvAppPath)
	if !in.waitsForCode(c) || !there || own == "" {
		return nil
	}
	if !path.IsAbs(own) || path.Clean(own) == "/" || within(own, fmcRoot) {
		return fmt.Errorf("its %s is %q: want an absolute path, not / and not below %s", api.EnvAppPath, short(own), fmcRoot)
	}
	return nil
}

// addMounts adds the volumes of one container and mounts them. Where the
// container mounts something of its own in a place, that stays.
func (in *injection) addMounts(c corev1.Container, at []string, app string) {
	suffix := in.freeSuffix()
	var mounts []any
	for _, m := range []corev1.VolumeMount{
		{Name: volumeBin, MountPath: binPath, ReadOnly: true},
		{Name: volumeApp + suffix, MountPath: path.Clean(app)},
		{Name: volumeState + suffix, MountPath: statePath},
		{Name: volumeIdentity, MountPath: identityPath, ReadOnly: true},
	} {
		own, there := mountAt(c, m.MountPath)
		if there && own.ReadOnly && !m.ReadOnly {
			in.warn("container %s mounts %s read-only: Stinger cannot write there", c.Name, m.MountPath)
		}
		if there {
			continue
		}
		mounts = append(mounts, m)
		if m.Name == volumeIdentity {
			in.addVolume(in.identity())
		} else {
			in.addVolume(emptyDir(m.Name))
		}
	}
	in.doc.add(append(slices.Clone(at), "volumeMounts"), mounts...)
}

// freeSuffix returns what tells this container's volumes from those of the
// containers before it, of an earlier injection as well.
func (in *injection) freeSuffix() string {
	for n := 0; ; n++ {
		suffix := ""
		if n > 0 {
			suffix = "-" + strconv.Itoa(n)
		}
		if !in.hasVolume(volumeApp+suffix) && !in.hasVolume(volumeState+suffix) {
			return suffix
		}
	}
}

// addVolume adds a volume to the pod, unless it is there.
func (in *injection) addVolume(v corev1.Volume) {
	if !in.hasVolume(v.Name) {
		in.doc.add([]string{"spec", "volumes"}, v)
	}
}

func emptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

func (in *injection) hasVolume(name string) bool {
	list, _ := in.doc.get([]string{"spec", "volumes"}).([]any)
	return slices.ContainsFunc(list, func(v any) bool {
		volume, ok := v.(map[string]any)
		return ok && volume["name"] == name
	})
}

// takenVolume returns the name of a volume that has a name of ours and is none
// of ours.
func (in *injection) takenVolume() string {
	for _, v := range in.pod.Spec.Volumes {
		ours := v.Name == volumeBin || strings.HasPrefix(v.Name, volumeApp) || strings.HasPrefix(v.Name, volumeState)
		if ours && v.EmptyDir == nil || v.Name == volumeIdentity && !isIdentity(v) {
			return v.Name
		}
	}
	return ""
}

// ownInitContainers returns how many init containers of ours the pod begins
// with: stinger-install comes after them.
func (in *injection) ownInitContainers() int {
	list, _ := in.doc.get([]string{"spec", "initContainers"}).([]any)
	for i, item := range list {
		c, _ := item.(map[string]any)
		if name := c["name"]; name != api.ContainerNetraInit && name != api.ContainerNetra {
			return i
		}
	}
	return len(list)
}

// literal returns the variable as the container has it; one that comes from
// elsewhere is there and has no value.
func literal(c corev1.Container, name string) (value string, there bool) {
	for _, v := range c.Env {
		if v.Name == name {
			value, there = v.Value, true // of several the last one counts
		}
	}
	return value, there
}

func mountAt(c corev1.Container, dir string) (corev1.VolumeMount, bool) {
	for _, m := range c.VolumeMounts {
		if path.Clean(m.MountPath) == path.Clean(dir) {
			return m, true
		}
	}
	return corev1.VolumeMount{}, false
}
