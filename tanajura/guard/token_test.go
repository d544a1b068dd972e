package guard

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"
)

// jwt makes a token of a body.
func jwt(body string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(body)) + "." + encode([]byte("signature"))
}

func TestFits(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct{ name, token, fault string }{
		{"a list", jwt(`{"aud":["b","a"],"exp":1800000100}`), ""},
		{"one", jwt(`{"aud":"a","exp":1800000100}`), ""},
		{"within the clocks' difference", jwt(`{"aud":"a","exp":1799999950}`), ""},
		{"ended", jwt(`{"aud":"a","exp":1799999900}`), "ended at"},
		{"another audience", jwt(`{"aud":["b"],"exp":1800000100}`), `the token is for "b"`},
		{"no audience", jwt(`{"exp":1800000100}`), "JWT"},
		{"audience null", jwt(`{"aud":null,"exp":1800000100}`), "the token is for"},
		{"no end", jwt(`{"aud":"a"}`), "JWT"},
		{"an end beyond time", jwt(`{"aud":"a","exp":1e300}`), "JWT"},
		{"an audience of numbers", jwt(`{"aud":[1],"exp":1800000100}`), "JWT"},
		{"a body that is none", jwt(`[]`), "JWT"},
		{"two parts", "e30.e30", "JWT"},
		{"four parts", jwt("{}") + ".a", "JWT"},
		{"no signature", strings.TrimSuffix(jwt(`{"aud":"a","exp":1800000100}`), base64.RawURLEncoding.EncodeToString([]byte("signature"))), "JWT"},
		{"padded", jwt(`{"aud":"a","exp":1800000100}`) + "=", "JWT"},
		{"spaces", " " + jwt(`{"aud":"a","exp":1800000100}`), "JWT"},
	} {
		_, err := fits(c.token, "a", now)
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v, want %q", c.name, err, c.fault)
		}
	}
}

// The header's bytes are a stranger's: what is taken for a token is bounded and
// says that it is for this devspace.
func FuzzToken(f *testing.F) {
	good := jwt(`{"aud":["a"],"exp":1800000100}`)
	for _, header := range []string{
		"", "Bearer " + good, "bearer  " + good + " ", "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+good)),
		"Basic Og==", "Digest a", "Bearer a.b.c", "Bearer " + jwt(`{"aud":{},"exp":"x"}`), "Bearer " + jwt(`{"aud":"a","exp":-1}`),
	} {
		f.Add(header)
	}
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, header string) {
		token, err := tokenOf(&http.Request{Header: http.Header{"Authorization": {header}}})
		if err != nil {
			return
		}
		if token == "" || len(token) > maxToken {
			t.Fatalf("%q is a token of %d bytes", header, len(token))
		}
		ends, err := fits(token, "a", now)
		if err == nil && ends.Before(now.Add(-skew)) {
			t.Errorf("%q ended at %s", token, ends)
		}
		if err != nil && len(err.Error()) > 1200 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
