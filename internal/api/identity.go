package api

// Names of what the identities of a devspace are made of; package identity
// says how they work together.
const (
	// AuthorityName names the Secret (AuthorityCertificate, AuthorityKey) with a
	// devspace's authority, which its hub alone mounts, and the ConfigMap (AuthorityCertificate
	// as IdentityAuthority) with the certificate that all trust.
	AuthorityName        = "formicarium-authority"
	AuthorityCertificate = "tls.crt"
	AuthorityKey         = "tls.key"

	// DeveloperAccount is the ServiceAccount, and the Role and RoleBinding of
	// it, in whose name a developer's plugin speaks to the hub: whoever may
	// request a token for it is a developer of the devspace.
	DeveloperAccount = "formicarium-developer"

	// IdentityPath is the directory of an injected container that holds its
	// pod's identity: the files IdentityToken, which the kubelet renews, and
	// IdentityAuthority.
	IdentityPath      = "/fmc/identity"
	IdentityToken     = "token"
	IdentityAuthority = "ca.crt"

	// ResourceGroup, ResourceRepositories and ResourceStingers are what rights
	// are asked about in a devspace. There are no such objects; the verbs are
	// get, list, create, update and delete of repositories (update is a push),
	// and update of stingers.
	ResourceGroup        = Domain
	ResourceRepositories = "repositories"
	ResourceStingers     = "stingers"
)

// Audience is what the tokens of a devspace are for, so that one of another
// devspace, or one for the API server, is of no use at its hub.
func Audience(devspace string) string { return Domain + "/devspace/" + devspace }

// Environment variables of Stinger that say who it listens to.
const (
	// EnvStingerAuth is AuthDevspace, where only the hub and developers of the
	// pod's devspace give orders, or AuthNone.
	EnvStingerAuth = "STINGER_AUTH"
	AuthDevspace   = "devspace"
	AuthNone       = "none"
	// EnvStingerIdentity is the directory in place of IdentityPath.
	EnvStingerIdentity = "STINGER_IDENTITY"
)

// PathCertificates is where a hub gives certificates for tokens.
const PathCertificates = "/api/certificates"

// CertificateRequest is the body of POST PathCertificates, with a token as bearer.
type CertificateRequest struct {
	// Request is a certificate request (PKCS #10) in PEM. Of it only the public
	// key is used: who the certificate is for is what the token says.
	Request string `json:"request"`
}

// Certificate is its answer.
type Certificate struct {
	// Certificate is in PEM, signed by the devspace's authority.
	Certificate string `json:"certificate"`
}
