// Package api holds the words that two or more of Formicarium's programs must
// agree on: labels and annotations, ports, environment variables, names and
// JSON bodies.
//
// It imports the standard library only, because it is linked into every
// program, the small ones that run in every pod included.
package api

// Domain prefixes every label and annotation key that Formicarium reads or
// writes.
const Domain = "formicarium.io"

// FieldManager is the name under which the plugin applies objects server-side.
const FieldManager = "kubectl-fmc"

// SystemNamespace holds what one installation shares: webhook and tracing.
const SystemNamespace = "fmc-system"

// Labels.
const (
	// LabelManagedBy with the value FieldManager marks every object that the
	// plugin made; uninstall and devspace delete find objects by it.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// LabelName is the standard name label of the system's own workloads.
	LabelName = "app.kubernetes.io/name"
	// LabelDevspace marks a devspace's namespace and everything in it; the
	// value is the devspace's name.
	LabelDevspace = Domain + "/devspace"
	// LabelService marks a service's objects and pods; the value is the
	// service's name. Tanajura finds a service's pods by it.
	LabelService = Domain + "/service"
	// LabelInject, set to InjectEnabled on a namespace, opts all its pods in
	// for netra.
	LabelInject = Domain + "/inject"
)

// Annotations of a pod (or a pod template).
const (
	AnnotationInject    = Domain + "/inject"
	AnnotationService   = Domain + "/service"
	AnnotationContainer = Domain + "/container"
	// AnnotationStatus is written by the webhook: a JSON InjectionStatus.
	AnnotationStatus = Domain + "/status"
	// AnnotationDefinition is the content hash of what a deploy applied.
	AnnotationDefinition = Domain + "/definition"
	// AnnotationInstallation names the installation whose parts a deploy asked
	// for, so that a deploy after an update replaces the pods.
	AnnotationInstallation = Domain + "/installation"
)

// Values of AnnotationInject. InjectEnabled is also LabelInject's value.
const (
	InjectEnabled  = "enabled"
	InjectNetra    = "netra"
	InjectStinger  = "stinger"
	InjectDisabled = "disabled"
)

// Ports. Those of one pod must not collide with each other, and all of them
// stay out of netra's redirection.
const (
	// NetraInboundPort and NetraPrometheusPort keep the numbers of Netramesh.
	NetraInboundPort  = 14956
	NetraOutboundPort = 14955
	NetraAdminPort    = 14958
	// StingerPort is the first supervised container's; each further container
	// takes the next.
	StingerPort = 24000
	// OwnPortFirst and OwnPortLast bound the range that Formicarium keeps for
	// itself in every pod: stingers from the low end, the hub's Service port
	// at HubServicePort. Traffic to these ports is never redirected.
	OwnPortFirst   = 24000
	OwnPortLast    = 24099
	HubServicePort = 24090
	// HubPort is where tanajura itself listens.
	HubPort = 3002
)

// NetraUID is the user netra runs as; redirection leaves this user's own
// traffic alone, or it would be sent back to itself.
const NetraUID = 1337

// Names of what the webhook adds to a pod.
const (
	ContainerNetraInit      = "netra-init"
	ContainerNetra          = "netra"
	ContainerStingerInstall = "stinger-install"
	// HubName names the devspace's hub: Deployment, Service and DNS name.
	HubName = "tanajura"
	// HubBranch is the branch of a service's repository that its pods run.
	HubBranch = "main"
)
