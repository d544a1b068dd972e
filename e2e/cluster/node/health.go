package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// probe bounds one question to a daemon; the caller asks again.
const probe = 2 * time.Second

// client speaks to a daemon with the certificate of that name, and trusts the
// authority of that name.
func (l Layout) client(cert, authority string) (*http.Client, error) {
	own, err := tls.LoadX509KeyPair(l.pki(cert+".crt"), l.pki(cert+".key"))
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(l.pki(authority + ".crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return &http.Client{
		Timeout: probe,
		// Proxies of the environment are not asked: nothing leaves the machine.
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}},
			DisableKeepAlives: true,
		},
	}, nil
}

// ready returns the question whether the daemon serves.
func (l Layout) ready(daemon string) func(context.Context) error {
	if daemon == containerd {
		return func(ctx context.Context) error {
			c, err := (&net.Dialer{Timeout: probe}).DialContext(ctx, "unix", l.Socket())
			if err != nil {
				return err
			}
			return c.Close()
		}
	}
	q := map[string]struct{ url, cert, authority string }{
		etcd:        {fmt.Sprintf("https://127.0.0.1:%d/health", etcdPort), "apiserver-etcd", "etcd-ca"},
		apiserver:   {serverURL() + "/readyz", "admin", "ca"},
		controllers: {fmt.Sprintf("https://127.0.0.1:%d/healthz", controllersPort), "admin", "ca"},
		scheduler:   {fmt.Sprintf("https://127.0.0.1:%d/readyz", schedulerPort), "admin", "ca"},
		kubelet:     {fmt.Sprintf("http://127.0.0.1:%d/healthz", kubeletHealthPort), "admin", "ca"},
		proxy:       {fmt.Sprintf("http://127.0.0.1:%d/livez", proxyHealthPort), "admin", "ca"},
	}[daemon]
	return func(ctx context.Context) error {
		c, err := l.client(q.cert, q.authority)
		if err != nil {
			return err
		}
		return get(ctx, c, q.url, nil)
	}
}

// get reads the JSON at url into v, if v is not nil.
func get(ctx context.Context, c *http.Client, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20)) // a Node with many images has some 100 KiB
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("getting %s: %s: %.300s", url, res.Status, body)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(body, v)
}

// object is the part of a Node or a Deployment that says how it fares.
type object struct {
	Status struct {
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"conditions"`
	} `json:"status"`
}

// is returns the question whether the object at the API path has the
// condition.
func (l Layout) is(path, condition string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := l.client("admin", "ca")
		if err != nil {
			return err
		}
		var o object
		if err := get(ctx, c, serverURL()+path, &o); err != nil {
			return err
		}
		for _, have := range o.Status.Conditions {
			if have.Type != condition {
				continue
			}
			if have.Status == "True" {
				return nil
			}
			return fmt.Errorf("%s is not %s: %s", path, condition, have.Message)
		}
		return fmt.Errorf("%s is not %s yet", path, condition)
	}
}

func (l Layout) nodeReady() func(context.Context) error {
	return l.is("/api/v1/nodes/"+NodeName, "Ready")
}

func (l Layout) dnsAvailable() func(context.Context) error {
	return l.is("/apis/apps/v1/namespaces/kube-system/deployments/coredns", "Available")
}

// Healthy is nil where every daemon runs and answers, the node is ready and
// DNS is available; else it says what is amiss.
func (l Layout) Healthy(ctx context.Context) error {
	for _, name := range daemonNames() {
		if _, ok := l.running(name); !ok {
			return fmt.Errorf("%s does not run", name)
		}
	}
	for _, name := range daemonNames() {
		if err := l.ready(name)(ctx); err != nil {
			return fmt.Errorf("%s does not answer: %w", name, err)
		}
	}
	if err := l.nodeReady()(ctx); err != nil {
		return err
	}
	return l.dnsAvailable()(ctx)
}

// Status is what there is to say of a daemon.
type Status struct {
	Name    string
	PID     int    // 0 where it does not run
	Address string // on which it serves
	Log     string
}

// Daemons tells how each daemon fares, in the order in which they start.
func (l Layout) Daemons() []Status {
	addresses := map[string]string{
		etcd:        fmt.Sprintf("127.0.0.1:%d", etcdPort),
		containerd:  l.Socket(),
		apiserver:   fmt.Sprintf("%s:%d", NodeAddress, apiserverPort),
		controllers: fmt.Sprintf("127.0.0.1:%d", controllersPort),
		scheduler:   fmt.Sprintf("127.0.0.1:%d", schedulerPort),
		kubelet:     fmt.Sprintf("%s:%d", NodeAddress, kubeletPort),
		proxy:       fmt.Sprintf("127.0.0.1:%d", proxyHealthPort),
	}
	var all []Status
	for _, name := range daemonNames() {
		s := Status{Name: name, Address: addresses[name], Log: l.log(name)}
		if id, ok := l.running(name); ok {
			s.PID = id.pid
		}
		all = append(all, s)
	}
	return all
}
