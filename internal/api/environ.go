package api

// Environment variables of Stinger. See the package comment of stinger for
// their meaning and defaults.
const (
	EnvAppPath        = "APP_PATH"
	EnvStingerScripts = "STINGER_SCRIPTS"
	EnvGitURL         = "GIT_URL"
	EnvStartAfterPull = "START_AFTER_PULL"
	EnvStingerPort    = "STINGER_PORT"
	EnvStingerGrace   = "STINGER_GRACE"
	// EnvStingerBuildTimeout is the longest that a build may take.
	EnvStingerBuildTimeout = "STINGER_BUILD_TIMEOUT"
	AnnotationBuildTimeout = Domain + "/stinger-build-timeout"
	// EnvStingerState is the directory for what a Stinger keeps beside the
	// working tree; it need not survive the container.
	EnvStingerState = "STINGER_STATE"
	// EnvStingerWaitForCode is "true" where the container is there for the code
	// that comes from the hub, "false" where its own command runs until then.
	EnvStingerWaitForCode = "STINGER_WAIT_FOR_CODE"
	// EnvStingerReload holds the rules of what a change does, see package
	// internal/reload.
	EnvStingerReload = "STINGER_RELOAD"
	// EnvStingerListen names the ports that Stinger listens on for the process.
	EnvStingerListen = "STINGER_LISTEN"
	// EnvReloadPID tells a reload script the process.
	EnvReloadPID = "FMC_PID"
)

// SharedStingerVariables are those whose names an application may have for
// purposes of its own. Stinger takes StingerOwn of each in the first place.
var SharedStingerVariables = []string{EnvAppPath, EnvGitURL, EnvStartAfterPull}

// StingerOwn returns the name of a shared variable that is Stinger's alone.
func StingerOwn(name string) string { return "STINGER_" + name }

// Environment variables of netra-init.
const (
	EnvInboundPorts        = "INBOUND_INTERCEPT_PORTS"
	EnvOutboundPorts       = "OUTBOUND_INTERCEPT_PORTS"
	EnvInboundProbability  = "NETRA_INBOUND_PROBABILITY"
	EnvOutboundProbability = "NETRA_OUTBOUND_PROBABILITY"
	// EnvExcludeInboundPorts, EnvExcludeOutboundPorts and EnvExcludeCIDRs are
	// comma-separated and come on top of what is always left out.
	EnvExcludeInboundPorts  = "NETRA_EXCLUDE_INBOUND_PORTS"
	EnvExcludeOutboundPorts = "NETRA_EXCLUDE_OUTBOUND_PORTS"
	EnvExcludeCIDRs         = "NETRA_EXCLUDE_CIDRS"
	EnvNetraUID             = "NETRA_SIDECAR_USER_ID"
	EnvRedirectBackend      = "NETRA_REDIRECT_BACKEND"
)

// Environment variables of netra that the webhook sets.
const (
	EnvNetraPort         = "NETRA_PORT"
	EnvNetraOutboundPort = "NETRA_OUTBOUND_PORT"
	EnvNetraAdminPort    = "NETRA_ADMIN_PORT"
	EnvNetraPprofPort    = "NETRA_PPROF_PORT"
	EnvJaegerServiceName = "JAEGER_SERVICE_NAME"
	EnvJaegerEndpoint    = "JAEGER_ENDPOINT"
	EnvOTelServiceName   = "OTEL_SERVICE_NAME"
	EnvOTelResource      = "OTEL_RESOURCE_ATTRIBUTES"
	EnvPodName           = "POD_NAME"
	EnvPodNamespace      = "POD_NAMESPACE"
)
