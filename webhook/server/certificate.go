package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// recheck is how old the knowledge of the certificate's files may be: a new
// certificate is served a second after the kubelet wrote it, and handshakes
// cost no more than one look at two files a second.
const recheck = time.Second

// Certificate is a serving certificate in the files tls.crt and tls.key of a
// directory, such as a mounted Secret. It is read again when the files change.
// While the new files cannot be used (the kubelet has written one of the two,
// say) the old certificate is served.
type Certificate struct {
	dir string
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	read    [2]os.FileInfo // the files that current is from
	checked time.Time
	fault   string // the last one logged
}

// NewCertificate returns the certificate in dir, which need not be there yet.
func NewCertificate(dir string, log *slog.Logger) *Certificate {
	return &Certificate{dir: dir, log: log, now: time.Now}
}

// Get is for tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); c.current == nil || now.Sub(c.checked) >= recheck {
		c.checked = now
		c.reload()
	}
	if c.current == nil {
		return nil, errors.New("there is no serving certificate yet: " + c.fault)
	}
	return c.current, nil
}

// Ready reports why there is no certificate to serve, or nil.
func (c *Certificate) Ready() error {
	cert, err := c.Get(nil)
	if err != nil {
		return err
	}
	if end := cert.Leaf.NotAfter; c.now().After(end) {
		return fmt.Errorf("the serving certificate ended at %s", end.Format(time.RFC3339))
	}
	return nil
}

// End returns when the certificate ends, the zero time while there is none.
func (c *Certificate) End() time.Time {
	cert, err := c.Get(nil)
	if err != nil {
		return time.Time{}
	}
	return cert.Leaf.NotAfter
}

// reload reads the files where they have changed.
func (c *Certificate) reload() {
	files, err := c.files()
	if err == nil && c.current != nil && same(files[0], c.read[0]) && same(files[1], c.read[1]) {
		return
	}
	var loaded tls.Certificate
	if err == nil {
		loaded, err = tls.LoadX509KeyPair(filepath.Join(c.dir, "tls.crt"), filepath.Join(c.dir, "tls.key"))
	}
	if err != nil {
		if c.fault != err.Error() {
			c.fault = err.Error()
			c.log.Error("reading the serving certificate failed", "error", err, "serving", c.current != nil)
		}
		return
	}
	c.current, c.read, c.fault = &loaded, files, ""
	c.log.Info("serving a certificate", "subject", loaded.Leaf.Subject.String(), "names", loaded.Leaf.DNSNames, "end", loaded.Leaf.NotAfter)
	if c.now().After(loaded.Leaf.NotAfter) {
		c.log.Error("the serving certificate has ended: the API server will not accept it", "end", loaded.Leaf.NotAfter)
	}
}

func (c *Certificate) files() (files [2]os.FileInfo, err error) {
	for i, name := range []string{"tls.crt", "tls.key"} {
		if files[i], err = os.Stat(filepath.Join(c.dir, name)); err != nil {
			return files, fmt.Errorf("looking at the serving certificate: %w", err)
		}
	}
	return files, nil
}

// same reports whether a file has not been written since. Times alone do not
// tell: two writes can fall into one tick of the file system's clock.
func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
