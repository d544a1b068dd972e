package server

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/formicarium/formicarium/internal/api"
	"github.com/formicarium/formicarium/internal/identity"
	"github.com/formicarium/formicarium/tanajura/guard"
)

// Signer signs certificate requests in PEM.
type Signer interface {
	Sign(request []byte, who identity.Identity) (certificate []byte, err error)
}

// certify gives the sender of a request a certificate of who the guard says it is,
// and of nobody else.
func (s *server) certify(c *gin.Context) {
	if s.Guard == nil || s.Signer == nil {
		fail(c, http.StatusNotFound, "this hub asks nobody who they are, and gives no certificates")
		return
	}
	if !s.may(c, guard.Right{Verb: "update", Resource: api.ResourceStingers}) {
		return
	}
	var body api.CertificateRequest
	if err := readJSON(c, &body); err != nil {
		s.failWith(c, err)
		return
	}
	caller, _ := guard.From(c.Request.Context())
	certificate, err := s.Signer.Sign([]byte(body.Request), caller.Identity)
	if err != nil {
		s.failWith(c, &requestError{http.StatusBadRequest, "signing a certificate: " + err.Error()})
		return
	}
	c.JSON(http.StatusCreated, api.Certificate{Certificate: string(certificate)})
}

// may asks the guard for a right on a repository, or on all of a resource.
func (s *server) may(c *gin.Context, right guard.Right) bool {
	return s.Guard.Allow(c.Writer, c.Request, right)
}

// gitRight is what a request of git's protocol needs.
func gitRight(repository string, changes bool) guard.Right {
	verb := "get"
	if changes {
		verb = "update"
	}
	return guard.Right{Verb: verb, Resource: api.ResourceRepositories, Name: repository}
}

// needs puts the right before a handler. The name of the repository, where the path
// has one, is part of it.
func (s *server) needs(verb string, handler gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		if s.may(c, guard.Right{Verb: verb, Resource: api.ResourceRepositories, Name: c.Param("name")}) {
			handler(c)
		}
	}
}
