package guard

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// maxToken bounds a token: the API server's have 1 to 2 kB, and a name and
	// a namespace in them at their longest.
	maxToken = 8 << 10
	// skew is how far the hub's clock and the API server's may be apart.
	skew = time.Minute
)

// tokenOf returns the token that a request brings: as bearer, or as the password of
// HTTP's basic scheme, whose user name does not matter.
func tokenOf(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	switch {
	case len(values) == 0:
		return "", errNoToken
	case len(values) > 1:
		return "", errHeader
	case len(values[0]) > 2*maxToken: // base64 makes 4 bytes of 3
		return "", errTooLong
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		token = strings.TrimSpace(token)
	case strings.EqualFold(scheme, "Basic"):
		var ok bool
		if _, token, ok = r.BasicAuth(); !ok {
			return "", errHeader
		}
	default:
		return "", errHeader
	}
	switch {
	case token == "":
		return "", errNoToken
	case len(token) > maxToken:
		return "", errTooLong
	}
	return token, nil
}

// fits reports why a token cannot be of the audience, judged by what it says of
// itself, or when it ends. What it says may be a lie: that is the API server's to
// find out.
func fits(token, audience string, now time.Time) (ends time.Time, err error) {
	c, err := parseClaims(token)
	switch {
	case err != nil:
		return time.Time{}, err
	case !slices.Contains(c.audiences, audience):
		return time.Time{}, &misfit{fmt.Sprintf("the token is for %.200q", strings.Join(c.audiences, ", "))}
	case now.After(c.ends.Add(skew)):
		return time.Time{}, &misfit{"the token ended at " + c.ends.UTC().Format(time.RFC3339)}
	}
	return c.ends, nil
}

// claims are what a token says of itself.
type claims struct {
	audiences []string
	ends      time.Time
}

// parseClaims reads a token, which is a JWT (RFC 7519), without verifying it.
func parseClaims(token string) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, errShape
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil || len(part) == 0 {
			return claims{}, errShape
		}
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var body struct {
		Audience json.RawMessage `json:"aud"`
		Ends     float64         `json:"exp"`
	}
	if json.Unmarshal(decoded[0], &header) != nil || header.Algorithm == "" || json.Unmarshal(decoded[1], &body) != nil {
		return claims{}, errShape
	}
	// A number of seconds that time.Time can hold.
	if body.Ends <= 0 || body.Ends > math.MaxInt32*100 {
		return claims{}, errShape
	}
	c := claims{ends: time.Unix(int64(body.Ends), 0)}
	var one string
	if json.Unmarshal(body.Audience, &one) == nil {
		c.audiences = []string{one}
	} else if json.Unmarshal(body.Audience, &c.audiences) != nil {
		return claims{}, errShape
	}
	return c, nil
}
