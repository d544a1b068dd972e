package http2

import (
	"bytes"
	"encoding/base64"
	"iter"
)

// maxUpgradeSettings bounds HTTP2-Settings, in bytes once decoded; it holds
// every parameter that there is several times.
const maxUpgradeSettings = 40 * parameterSize

// UpgradeRequest reports whether an HTTP/1.1 request with these fields asks to
// go on as HTTP/2 (RFC 7540, 3.2), and what the client's settings are then.
func UpgradeRequest(fields iter.Seq2[[]byte, []byte]) (settings []Parameter, asked bool) {
	var encoded []byte
	var upgrade, given int
	for name, value := range fields {
		switch {
		case bytes.EqualFold(name, []byte("Upgrade")) && names(value):
			upgrade++
		case bytes.EqualFold(name, []byte("HTTP2-Settings")):
			encoded = value
			given++
		}
	}
	if upgrade != 1 || given != 1 || base64.RawURLEncoding.DecodedLen(len(encoded)) > maxUpgradeSettings {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(string(bytes.TrimRight(encoded, "=")))
	if err != nil || len(raw)%parameterSize != 0 {
		return nil, false
	}
	for ; len(raw) > 0; raw = raw[parameterSize:] {
		settings = append(settings, parseParameter(raw))
	}
	return settings, true
}

// UpgradeResponse reports whether a 101 response with these fields goes on as
// HTTP/2.
func UpgradeResponse(fields iter.Seq2[[]byte, []byte]) bool {
	for name, value := range fields {
		if bytes.EqualFold(name, []byte("Upgrade")) && names(value) {
			return true
		}
	}
	return false
}

// names reports whether an Upgrade field's value has HTTP/2 in its list.
func names(value []byte) bool {
	for item := range bytes.SplitSeq(value, []byte{','}) {
		if bytes.EqualFold(bytes.Trim(item, " \t"), []byte("h2c")) {
			return true
		}
	}
	return false
}
