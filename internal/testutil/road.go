package testutil

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Road is a stretch of network that a test can break: a TCP proxy on a loopback
// port.
//
//	road, err := testutil.OpenRoad("10.1.2.3:6443")
//	defer road.Close()
//	… connect to road.Addr() …
//	road.Swallow()   // a black hole, as where a laptop slept or a VPN changed
//	road.Open()
//	road.Cut()       // every connection ends
type Road struct {
	net.Listener
	to   string
	wait sync.WaitGroup
	// passed counts bytes, both ways; rate is how many of one connection and
	// way pass in a second, 0 for all.
	passed, rate atomic.Int64

	mu      sync.Mutex
	swallow bool // new connections
	lanes   map[*lane]bool
}

// lane is one connection.
type lane struct {
	swallow              chan struct{} // closed: nothing passes any more
	end                  chan struct{}
	swallowOnce, endOnce sync.Once
}

// OpenRoad opens a road to an address.
func OpenRoad(to string) (*Road, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Road{Listener: l, to: to, lanes: map[*lane]bool{}}
	r.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.wait.Go(func() { r.carry(conn) })
		}
	})
	return r, nil
}

// Close ends the road and what is on it.
func (r *Road) Close() error {
	err := r.Listener.Close()
	r.Cut()
	r.wait.Wait()
	return err
}

// Swallow makes a black hole of all connections there are, and of new ones
// until Open: nothing arrives, nor does any word of that.
func (r *Road) Swallow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.swallow = true
	for a := range r.lanes {
		a.swallowOnce.Do(func() { close(a.swallow) })
	}
}

// Open lets new connections through; old ones stay what they are.
func (r *Road) Open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.swallow = false
}

// Slow lets bytes of each connection pass, each way, in a second; 0 is no limit.
func (r *Road) Slow(bytes int64) { r.rate.Store(bytes) }

// Passed returns how many bytes have passed, both ways.
func (r *Road) Passed() int64 { return r.passed.Load() }

// Cut ends all connections with a reset.
func (r *Road) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range r.lanes {
		a.endOnce.Do(func() { close(a.end) })
	}
}

func (r *Road) carry(near net.Conn) {
	a := &lane{swallow: make(chan struct{}), end: make(chan struct{})}
	r.mu.Lock()
	if r.swallow {
		a.swallowOnce.Do(func() { close(a.swallow) })
	}
	r.lanes[a] = true
	r.mu.Unlock()
	defer func() {
		near.(*net.TCPConn).SetLinger(0) // what ends with it is a reset
		near.Close()
		r.mu.Lock()
		delete(r.lanes, a)
		r.mu.Unlock()
	}()
	select {
	case <-a.swallow: // it is accepted, and that is all
		<-a.end
		return
	default:
	}
	far, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer far.Close()
	go r.copy(a, far, near)
	go r.copy(a, near, far)
	<-a.end
}

// copy ends the lane where one side ends.
func (r *Road) copy(a *lane, to io.Writer, from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-a.swallow:
			<-a.end // nothing is read any more: the sender's buffers fill
			return
		default:
		}
		if _, failed := to.Write(buffer[:n]); failed != nil || err != nil {
			a.endOnce.Do(func() { close(a.end) })
			return
		}
		r.passed.Add(int64(n))
		if rate := r.rate.Load(); rate > 0 {
			time.Sleep(time.Duration(int64(n) * int64(time.Second) / rate))
		}
	}
}
