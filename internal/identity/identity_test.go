package identity

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

var (
	hubID       = Identity{Devspace: "mine", Kind: Hub}
	podID       = Identity{Devspace: "mine", Kind: Pod, Name: "orders-7c-x2", UID: "5f0c"}
	developerID = Identity{Devspace: "mine", Kind: Developer, Name: "system:serviceaccount:mine:formicarium-developer"}
)

func authority(t *testing.T, devspace string) *Authority {
	t.Helper()
	made, err := NewAuthority(devspace)
	if err != nil {
		t.Fatal(err)
	}
	key, err := made.Key()
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseAuthority(made.Certificate(), key)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// issue goes the way of a request.
func issue(t *testing.T, a *Authority, who Identity) *tls.Certificate {
	t.Helper()
	key, request, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := a.Sign(request, who)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := Pair(string(certificate), key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func fixed(c *tls.Certificate) func() (*tls.Certificate, error) {
	if c == nil {
		return nil
	}
	return func() (*tls.Certificate, error) { return c, nil }
}

// ask asks a server that runs with one identity who the asker is.
func ask(t *testing.T, a *Authority, server *tls.Certificate, config *tls.Config) (string, error) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok := Peer(r.TLS)
		if !ok {
			io.WriteString(w, "nobody")
			return
		}
		io.WriteString(w, who.String())
	}))
	s.Config.ErrorLog = nil
	s.TLS = ServerConfig(fixed(server), func() (*x509.CertPool, error) { return a.Roots(), nil })
	s.StartTLS()
	defer s.Close()
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get(s.URL)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func TestMutualTLS(t *testing.T) {
	mine, other := authority(t, "mine"), authority(t, "other")
	hub, pod := issue(t, mine, hubID), issue(t, mine, podID)
	for _, c := range []struct {
		name   string
		server *tls.Certificate
		config *tls.Config
		want   string // what the server knows; empty where there is no connection
		fault  string
	}{
		{"developer to pod", pod, ClientConfig(podID, mine.Roots(), fixed(issue(t, mine, developerID))), developerID.String(), ""},
		{"hub to pod", pod, ClientConfig(podID, mine.Roots(), fixed(hub)), hubID.String(), ""},
		{"nobody to hub", hub, ClientConfig(hubID, mine.Roots(), nil), "nobody", ""},
		{"developer of another devspace", pod, ClientConfig(podID, mine.Roots(), fixed(issue(t, other, developerID))), "", "certificate"},
		{"a pod as client", pod, ClientConfig(podID, mine.Roots(), fixed(pod)), "", "certificate"},
		{"a later pod of the same name", pod, ClientConfig(Identity{Kind: Pod, Name: podID.Name, UID: "6a1d"}, mine.Roots(), nil), "", "6a1d"},
		{"a pod as hub", pod, ClientConfig(hubID, mine.Roots(), nil), "", "tanajura"},
		{"the hub of another devspace", issue(t, other, hubID), ClientConfig(hubID, mine.Roots(), nil), "", "authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ask(t, mine, c.server, c.config)
			if got != c.want || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("the server knows %q, error %v; want %q, an error with %q", got, err, c.want, c.fault)
			}
		})
	}
}

func TestIdentityAsURI(t *testing.T) {
	for _, want := range []Identity{hubID, podID, developerID} {
		uri, err := url.Parse(want.String())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(uri); err != nil || got != want {
			t.Errorf("Parse(%s) = %+v, %v", uri, got, err)
		}
	}
	for _, text := range []string{"formicarium://mine/hub/x", "formicarium://mine/pod/a", "formicarium:///hub", "https://mine/hub", "formicarium://mine/root", "formicarium://mine"} {
		uri, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(uri); err == nil {
			t.Errorf("Parse(%s) = %+v, want an error", text, got)
		}
	}
}

// Nobody gets a certificate for another name than the one that the hub knows.
func TestSignUsesTheKeyOnly(t *testing.T) {
	a := authority(t, "mine")
	for _, who := range []Identity{{Kind: Pod, Name: "a/b", UID: "1"}, {Kind: Pod, Name: "a"}, {Kind: Hub, Name: "a"}, {Kind: "root"}} {
		_, request, err := NewRequest()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Sign(request, who); err == nil {
			t.Errorf("%+v got a certificate", who)
		}
	}
	for _, request := range []string{"", "x", string(a.Certificate())} {
		if _, err := a.Sign([]byte(request), podID); err == nil {
			t.Errorf("request %.20q got a certificate", request)
		}
	}
}
