package devspace

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/run"
)

// GitScheme is how git names a repository of the devspace's hub: fmc:orders.
const GitScheme = "fmc:"

// headerGitSecret carries the secret of a GitRelay.
const headerGitSecret = "Formicarium-Secret"

// GitRelay lets one run of git reach a devspace's hub, as GitScheme. It listens on
// a loopback port, where others on the machine can knock, too; so it serves who
// knows a secret that is made for it and told to git by its environment alone. The
// hub's address, its authority and the token are no matter of git's: nothing of
// them is in its configuration, arguments or environment.
//
//	relay, err := client.RelayGit("mine")
//	defer relay.Close()
//	git.Env, err = relay.Env(os.Environ())
type GitRelay struct {
	hub      *Hub
	listener net.Listener
	server   *http.Server
	secret   string
}

// RelayGit starts a relay to the devspace's hub.
func (c *Client) RelayGit(devspace string) (*GitRelay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for git: %w", err)
	}
	g := &GitRelay{hub: c.Hub(devspace), listener: listener, secret: rand.Text()}
	g.server = &http.Server{Handler: g.handler(), ReadHeaderTimeout: run.ReadHeaderTimeout, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = g.server.Serve(listener) }() // until Close
	return g, nil
}

// Close ends the relay with all that goes over it.
func (g *GitRelay) Close() error { return errors.Join(g.server.Close(), g.hub.Close()) }

// Env returns the environment for git: environ, and settings in the form in which
// git takes them from the environment. Nothing of them is written anywhere, and a
// clone remembers GitScheme, not the relay.
func (g *GitRelay) Env(environ []string) ([]string, error) {
	const count = "GIT_CONFIG_COUNT"
	settings, first := environ, 0
	for i, variable := range environ {
		text, is := strings.CutPrefix(variable, count+"=")
		if !is {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s=%q: want a number: git reads settings from the environment by it", count, text)
		}
		settings, first = append(append([]string{}, environ[:i]...), environ[i+1:]...), n
	}
	base := "http://" + g.listener.Addr().String() + "/"
	added := [][2]string{
		{"url." + base + ".insteadOf", GitScheme},
		{"http." + base + ".extraHeader", headerGitSecret + ": " + g.secret},
		{"http." + base + ".proxy", ""}, // a proxy of the user's is for other hosts
	}
	for i, setting := range added {
		settings = append(settings, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", first+i, setting[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", first+i, setting[1]))
	}
	return append(settings, fmt.Sprintf("%s=%d", count, first+len(added))), nil
}

// gitPath is what git asks for; a repository's name may go without its .git.
var gitPath = regexp.MustCompile(`^/([^/]+?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)$`)

func (g *GitRelay) handler() http.Handler {
	target := &url.URL{Scheme: "https", Host: api.HubName}
	proxy := &httputil.ReverseProxy{
		Transport:     g.hub.client.Transport,
		FlushInterval: -1, // progress is to be seen when it is made
		ErrorLog:      log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del(headerGitSecret)
			r.Out.Header.Del("Cookie")
		},
		ModifyResponse: forGit,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				refuse(w, http.StatusBadGateway, err.Error())
			}
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(headerGitSecret)), []byte(g.secret)) != 1 {
			refuse(w, http.StatusForbidden, "this address is for one run of kubectl fmc git")
			return
		}
		parts := gitPath.FindStringSubmatch(r.URL.Path)
		if parts == nil {
			refuse(w, http.StatusNotFound, "this is no repository of a devspace: name one as "+GitScheme+"NAME")
			return
		}
		r.URL.Path, r.URL.RawPath = "/"+parts[1]+".git/"+parts[2], ""
		proxy.ServeHTTP(w, r)
	})
}

// refuse answers in text, which git shows to its user.
func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// forGit makes an error of the hub's one that git shows. It must not look like a
// question for a password: there is none to give.
func forGit(response *http.Response) error {
	if response.StatusCode < http.StatusBadRequest {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	if err != nil {
		return fmt.Errorf("reading the hub's answer: %w", err)
	}
	response.Body.Close()
	var fault api.Error
	if json.Unmarshal(text, &fault) == nil && fault.Error != "" {
		text = []byte(fault.Error + "\n")
	}
	if response.StatusCode == http.StatusUnauthorized {
		response.StatusCode = http.StatusForbidden
	}
	response.Header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	response.Body, response.ContentLength = io.NopCloser(strings.NewReader(string(text))), int64(len(text))
	response.Header.Set("Content-Length", strconv.Itoa(len(text)))
	response.TransferEncoding = nil
	return nil
}

// maxRefusal bounds what is read of an error of the hub's, which is a line.
const maxRefusal = 16 << 10
