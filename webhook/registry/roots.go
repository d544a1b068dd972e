package registry

import (
	"crypto/x509"
	"errors"
	"fmt"

	// Mozilla's authorities, for the image that has none of its own; where the
	// machine has some, those are taken.
	_ "golang.org/x/crypto/x509roots/fallback"
)

// Roots returns the authorities that a registry's certificate may be from:
// those of the machine, or of Mozilla where it has none, and those of the
// bundle, which is PEM.
func Roots(bundle []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's authorities: %w", err)
	}
	if !pool.AppendCertsFromPEM(bundle) {
		return nil, errors.New("reading authorities: there is no certificate in PEM form")
	}
	return pool, nil
}
