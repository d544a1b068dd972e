package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/formicarium/formicarium/webhook/inject"
)

// accept are the kinds of manifests that can be read.
var accept = strings.Join([]string{
	string(types.OCIImageIndex), string(types.DockerManifestList), string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
}, ", ")

// session is one flight's conversation with one repository.
type session struct {
	web    *http.Client
	scheme string
	repo   name.Repository
}

// statusError is an answer that is not 200.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("the registry answers %d", int(s)) }

// read finds out what the reference runs.
func (c *Client) read(ctx context.Context, ref name.Reference, p Platform, credential Credential) (inject.ImageCommand, error) {
	s, err := c.open(ctx, ref.Context(), credential)
	if err != nil {
		return inject.ImageCommand{}, err
	}
	digest, err := s.resolve(ctx, ref)
	if err != nil {
		return inject.ImageCommand{}, err
	}
	// The digest is what a server said, so what is kept under it is kept for
	// that server's repository alone.
	key := ref.Context().Name() + "@" + digest + " " + p.String()
	if kept, ok := c.configs.Get(key); ok {
		return kept.(inject.ImageCommand), nil
	}
	command, err := s.command(ctx, digest, p)
	if err == nil {
		c.configs.Add(key, command, configLife)
	}
	return command, err
}

// open asks the registry how to log in, and does.
func (c *Client) open(ctx context.Context, repo name.Repository, credential Credential) (*session, error) {
	scheme := "https"
	var options []name.Option
	if c.plain[repo.RegistryStr()] {
		scheme, options = "http", append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(repo.RegistryStr(), options...)
	if err != nil {
		return nil, fmt.Errorf("naming the registry: %w", err)
	}
	// For the library a private address is a sign of plain HTTP; the transport
	// refuses what is not in the list.
	login, err := transport.NewWithContext(ctx, registry, authn.FromConfig(credential.auth), c.transport, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, fmt.Errorf("logging in to the registry: %w", err)
	}
	return &session{web: &http.Client{Transport: login, CheckRedirect: checkRedirect}, scheme: scheme, repo: repo}, nil
}

// do sends a request and returns the answer if that is 200.
func (s *session) do(ctx context.Context, method, kind, id string) (*http.Response, error) {
	url := fmt.Sprintf("%s://%s/v2/%s/%s/%s", s.scheme, s.repo.RegistryStr(), s.repo.RepositoryStr(), kind, id)
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	if kind == "manifests" {
		request.Header.Set("Accept", accept)
	}
	response, err := s.web.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", kind, err)
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, statusError(response.StatusCode)
	}
	return response, nil
}

// get returns the content that has the digest.
func (s *session) get(ctx context.Context, kind, digest string) ([]byte, error) {
	response, err := s.do(ctx, http.MethodGet, kind, digest)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", kind, err)
	}
	if digestLike(digest, data) != digest {
		return nil, fmt.Errorf("reading %s: the content is not that of the digest", kind)
	}
	return data, nil
}

// digestLike returns the data's digest by the algorithm of the other one.
func digestLike(other string, data []byte) string {
	if strings.HasPrefix(other, "sha512:") {
		sum := sha512.Sum512(data)
		return "sha512:" + hex.EncodeToString(sum[:])
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// resolve returns the digest that the reference has now. For one that is a
// digest it asks as well: whether this pod may know the image is the
// registry's to say.
func (s *session) resolve(ctx context.Context, ref name.Reference) (string, error) {
	response, err := s.do(ctx, http.MethodHead, "manifests", ref.Identifier())
	if err != nil {
		return "", err
	}
	response.Body.Close()
	if _, ok := ref.(name.Digest); ok {
		return ref.Identifier(), nil
	}
	digest := response.Header.Get("Docker-Content-Digest")
	if digest != "" {
		if _, err := v1.NewHash(digest); err != nil {
			return "", fmt.Errorf("reading a digest: %w", err)
		}
		return digest, nil
	}
	// The header is a matter of habit, not of the specification.
	if response, err = s.do(ctx, http.MethodGet, "manifests", ref.Identifier()); err != nil {
		return "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("reading manifests: %w", err)
	}
	return digestLike("", data), nil
}

// command reads what the manifest with that digest runs.
func (s *session) command(ctx context.Context, digest string, p Platform) (inject.ImageCommand, error) {
	m, err := s.manifest(ctx, digest)
	if err != nil {
		return inject.ImageCommand{}, err
	}
	if len(m.Manifests) == 0 {
		return s.config(ctx, m)
	}
	chosen, other, err := m.choose(p)
	if err != nil {
		return inject.ImageCommand{}, err
	}
	command, err := s.image(ctx, chosen.Digest)
	if err != nil || other == nil {
		return command, err
	}
	// The other platform's only matters where it is known to differ.
	if second, err := s.image(ctx, other.Digest); err == nil && !sameCommand(command, second) {
		command.Caveat = fmt.Sprintf("for %s it is another, so choose one with a node selector", cmp.Or(other.Platform.String(), "other platforms"))
	}
	return command, nil
}

func (s *session) image(ctx context.Context, digest string) (inject.ImageCommand, error) {
	m, err := s.manifest(ctx, digest)
	if err != nil {
		return inject.ImageCommand{}, err
	}
	return s.config(ctx, m)
}

func (s *session) manifest(ctx context.Context, digest string) (manifest, error) {
	if _, err := v1.NewHash(digest); err != nil {
		return manifest{}, fmt.Errorf("reading a digest: %w", err)
	}
	data, err := s.get(ctx, "manifests", digest)
	if err != nil {
		return manifest{}, err
	}
	return parseManifest(data)
}

func (s *session) config(ctx context.Context, m manifest) (inject.ImageCommand, error) {
	if _, err := v1.NewHash(m.Config.Digest); err != nil {
		return inject.ImageCommand{}, errNoImage
	}
	data, err := s.get(ctx, "blobs", m.Config.Digest)
	if err != nil {
		return inject.ImageCommand{}, err
	}
	return parseConfig(data)
}

func sameCommand(a, b inject.ImageCommand) bool {
	return slices.Equal(a.Entrypoint, b.Entrypoint) && slices.Equal(a.Cmd, b.Cmd)
}
