package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"
)

const pemCertificate = "CERTIFICATE"

// maxAuthorities bounds a caBundle whatever happens to the Secret: two are
// there in a renewal, and three when another follows within the hour.
const maxAuthorities = 8

// authorities returns the certificates in a bundle of PEM that have not ended.
// What does not parse is of no use to the API server either.
func authorities(bundle []byte, now time.Time) []*x509.Certificate {
	var found []*x509.Certificate
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type == pemCertificate && err == nil && !now.After(c.NotAfter) && !contains(found, c) {
			found = append(found, c)
		}
	}
	return found
}

func contains(list []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(list, c.Equal)
}

// trusts reports whether all of the authorities in pair are in bundle.
func trusts(bundle, pair []byte, now time.Time) bool {
	there := authorities(bundle, now)
	wanted := authorities(pair, now)
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(c *x509.Certificate) bool { return !contains(there, c) })
}

// merge returns the bundle that has the authorities in wanted and, unless
// retire is set, those of old that have not ended. Where old is that bundle
// already, it is returned as it is.
func merge(old []byte, wanted [][]byte, retire bool, now time.Time) []byte {
	there := authorities(old, now)
	ours := authorities(bytes.Join(wanted, []byte("\n")), now)
	others := slices.DeleteFunc(slices.Clone(there), func(c *x509.Certificate) bool { return retire || contains(ours, c) })
	// The oldest come first, and go first; ours stay.
	others = others[max(0, len(others)-maxAuthorities+len(ours)):]
	merged := append(others, ours...)
	var out bytes.Buffer
	for _, c := range merged {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw}))
	}
	if len(merged) == bytes.Count(old, []byte("-----BEGIN")) && slices.EqualFunc(merged, there, (*x509.Certificate).Equal) {
		return old
	}
	return out.Bytes()
}
