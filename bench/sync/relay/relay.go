// Package relay is a way to a server that takes longer: a TCP relay that holds
// every byte back for half of a round trip, each way, without limiting how many
// are under way. Kernels without netem have it, too, and no one else's traffic
// is touched.
//
//	r, err := relay.Listen("10.73.0.1:16443", 50*time.Millisecond)
//	defer r.Close()
//	… connect to r.Address()
package relay

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Relay is a running one.
type Relay struct {
	listener net.Listener
	target   string
	half     time.Duration

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// Listen starts a relay to target on a loopback port.
func Listen(target string, roundTrip time.Duration) (*Relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the relay: %w", err)
	}
	r := &Relay{listener: listener, target: target, half: roundTrip / 2, conns: map[net.Conn]bool{}}
	go r.accept()
	return r, nil
}

// Address is where it listens.
func (r *Relay) Address() string { return r.listener.Addr().String() }

// Close ends it and its connections.
func (r *Relay) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		conn.Close()
	}
	return r.listener.Close()
}

func (r *Relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.relay(near)
	}
}

func (r *Relay) relay(near net.Conn) {
	defer near.Close()
	// A connection takes a round trip to be made; here it is there at once, so
	// what is sent first waits for it.
	time.Sleep(2 * r.half)
	far, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer far.Close()
	r.keep(near, far)
	defer r.forget(near, far)
	var both sync.WaitGroup
	both.Go(func() { r.carry(far, near) })
	both.Go(func() { r.carry(near, far) })
	both.Wait()
}

func (r *Relay) keep(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		r.conns[conn] = true
	}
}

func (r *Relay) forget(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		delete(r.conns, conn)
	}
}

// parcel is what was read at once, and when it is due.
type parcel struct {
	data []byte
	due  time.Time
}

// window is how many parcels may be under way: 64 MiB.
const window = 1024

// carry passes on what comes from one end, half a round trip later.
func (r *Relay) carry(to, from net.Conn) {
	parcels := make(chan parcel, window)
	go func() {
		defer close(parcels)
		for {
			data := make([]byte, 64<<10)
			n, err := from.Read(data)
			if n > 0 {
				parcels <- parcel{data[:n], time.Now().Add(r.half)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range parcels {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	closeWrite(to)
	for range parcels { // so that the reader ends
	}
}

// closeWrite tells the other end that there is no more, and still hears it.
func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = conn.Close()
}

var _ io.Closer = (*Relay)(nil)
