package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// parseReference reads an image's name as the kubelet does: the default
// registry is Docker's, the default tag latest.
func parseReference(image string) (name.Reference, error) {
	// The longest valid name: a host, 255 for the repository, 128 for the tag
	// and a digest.
	const longest = 1024
	if len(image) <= longest {
		if ref, err := name.ParseReference(image, name.WeakValidation); err == nil {
			return ref, nil
		}
	}
	return nil, errors.New("its name is not valid")
}

// status returns the HTTP status that an error is about, or 0.
func status(err error) int {
	if own := statusError(0); errors.As(err, &own) {
		return int(own)
	}
	if library := (*transport.Error)(nil); errors.As(err, &library) {
		return library.StatusCode
	}
	return 0
}

// isRefusal reports whether other credentials may help.
func isRefusal(err error) bool {
	s := status(err)
	return s == http.StatusUnauthorized || s == http.StatusForbidden
}

var (
	errNoCredentials = faultError{"its registry wants credentials, and the pod has no pull secret for it"}
	errRefused       = faultError{"its registry refuses the pod's pull secrets"}
)

// isCredentialFault reports whether a pull secret that could not be read may be
// the cause.
func isCredentialFault(err error) bool { return err == errNoCredentials || err == errRefused }

// explain returns the error in words for the user who created the pod. No word
// is the server's: it may be one that the user cannot reach otherwise.
func explain(err error, anonymous bool) error {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
		verify   *tls.CertificateVerificationError
		timeout  net.Error
		first    *url.Error
	)
	// Of a registry at a private address the library asks over HTTPS and then,
	// in vain, over plain HTTP: the first of the two errors is the one that counts.
	plain := errors.As(err, &first) && errors.Is(first, errPlain)
	switch s := status(err); {
	case isRefusal(err) && anonymous:
		return errNoCredentials
	case isRefusal(err):
		return errRefused
	case s == http.StatusNotFound:
		return errors.New("its registry does not have it")
	case s == http.StatusTooManyRequests:
		return errors.New("its registry is asked too often")
	case s != 0:
		return errors.New("its registry answers with an error")
	case errors.Is(err, errAddress):
		return errors.New("its registry's address is not allowed")
	case errors.Is(err, errTooLarge):
		return errors.New("its manifest or configuration is too large")
	case plain, errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return errors.New("its registry speaks plain HTTP and is not in WEBHOOK_PLAIN_HTTP_REGISTRIES")
	case errors.As(err, &unknown), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &verify):
		return errors.New("its registry's certificate is not trusted (WEBHOOK_REGISTRY_CA)")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("its registry does not answer in time")
	case errors.As(err, &timeout):
		return errors.New("its registry cannot be reached")
	}
	if own := (faultError{}); errors.As(err, &own) {
		return own
	}
	return errors.New("its registry's answer cannot be read")
}

// faultError is one that is already in words for the user.
type faultError struct{ text string }

func (f faultError) Error() string { return f.text }
