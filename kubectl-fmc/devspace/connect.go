package devspace

import (
	"context"
	"net"

	"k8s.io/client-go/rest"
)

// PodConnector opens a connection to a port of a pod. Closing it ends all that
// was opened for it.
type PodConnector func(ctx context.Context, namespace, pod string, port int) (net.Conn, error)

// connectPods is the PodConnector that goes through the API server.
func connectPods(config *rest.Config) PodConnector {
	return func(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
		f := NewForwarder(config, namespace, FixedPod(pod, port))
		conn, err := f.Dial(ctx)
		if err != nil {
			f.Close()
			return nil, err
		}
		return &onlyConn{Conn: conn, forwarder: f}, nil
	}
}

// onlyConn is the one connection of its Forwarder.
type onlyConn struct {
	net.Conn
	forwarder *Forwarder
}

func (c *onlyConn) Close() error {
	c.Conn.Close()
	return c.forwarder.Close()
}
