package redirect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// checkTimeout bounds one attempt: a captured connection stays on the machine
// and is there in well under a millisecond, one that is not captured goes to an
// address that never answers.
const checkTimeout = time.Second

// maxAttempts bounds the connections that are open at once while a probability
// is tried.
const maxAttempts = 500

// Check proves that p is applied and works: the kernel's rules are p's, and a
// real connection over IPv4 and one over IPv6, to an address that is nobody's,
// arrive at netra's outbound port. Where nothing listens there, Check does so
// itself for as long as it takes, and also compares the original destination
// that the kernel remembers. The error says what does not hold.
func Check(ctx context.Context, p Plan) (Report, error) {
	installed, err := Installed()
	if err != nil {
		return Report{}, err
	}
	if installed == nil {
		return Report{}, errors.New("no redirection is applied: run netra-init first")
	}
	for _, c := range []Chain{p.Inbound, p.Outbound} {
		if diff := c.differs(installed[c.Hook]); diff != "" {
			return Report{}, fmt.Errorf("comparing the %s rules: %s", c.Hook, diff)
		}
	}
	port := p.Outbound.port()
	if port == 0 {
		return Report{Families: []FamilyReport{
			{Family: "IPv4", Skipped: "no outbound connection is captured"},
			{Family: "IPv6", Skipped: "no outbound connection is captured"},
		}}, nil
	}
	arrivals, err := listen(port)
	if err != nil {
		return Report{}, err
	}
	defer arrivals.close()
	var report Report
	var faults []error
	for _, family := range []string{"IPv4", "IPv6"} {
		f, err := checkFamily(ctx, p.Outbound, family, arrivals)
		report.Families = append(report.Families, f)
		faults = append(faults, err)
	}
	return report, errors.Join(faults...)
}

// differs compares the chain with the kernel's rules.
func (c Chain) differs(installed []string) string {
	var want []string
	for _, r := range c.Rules {
		want = append(want, r.String())
	}
	for _, line := range want {
		if !slices.Contains(installed, line) {
			return fmt.Sprintf("%q is not applied", line)
		}
	}
	for _, line := range installed {
		if !slices.Contains(want, line) {
			return fmt.Sprintf("%q is applied and is not in the plan", line)
		}
	}
	if !slices.Equal(want, installed) {
		return "they are applied in another order"
	}
	return ""
}

func checkFamily(ctx context.Context, c Chain, family string, arrivals *arrivals) (FamilyReport, error) {
	report := FamilyReport{Family: family}
	dst, probability := c.target(family, uint32(os.Geteuid()))
	if probability == 0 {
		report.Skipped = fmt.Sprintf("no connection of user %d to a test address is captured", os.Geteuid())
		return report, nil
	}
	report.Destination = dst
	// Enough attempts that a working redirection fails the check once in a
	// million times.
	attempts := 1
	if probability < 1 {
		attempts = int(math.Ceil(math.Log(1e-6) / math.Log(1-probability)))
	}
	if attempts > maxAttempts {
		report.Skipped = fmt.Sprintf("a probability of %g would take %d connections", probability, attempts)
		return report, nil
	}
	err := arrivals.dialAny(ctx, dst, attempts)
	switch {
	case err == nil:
		report.Captured = true
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		report.Skipped, err = "there is no route to the outside", nil
	case attempts > 1:
		err = fmt.Errorf("connecting to %s: none of %d connections arrived at a probability of %g: %w", dst, attempts, probability, err)
	default:
		err = fmt.Errorf("connecting to %s: %w", dst, err)
	}
	return report, err
}

// arrivals tells which connections arrive at netra's port.
type arrivals struct {
	listener net.Listener // nil where netra itself listens

	mu       sync.Mutex
	original map[string]chan original // by the connecting side's address
}

type original struct {
	dst netip.AddrPort
	err error
}

var errOriginal = errors.New("the kernel does not know the connection's original destination")

// listen starts to listen on port, unless somebody does already.
func listen(port uint16) (*arrivals, error) {
	a := &arrivals{original: map[string]chan original{}}
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listening in netra's place: %w", err)
	}
	a.listener = l
	go a.accept()
	return a, nil
}

func (a *arrivals) close() {
	if a.listener != nil {
		a.listener.Close()
	}
}

func (a *arrivals) accept() {
	for {
		conn, err := a.listener.Accept()
		if err != nil {
			return
		}
		dst, err := originalDestination(conn.(*net.TCPConn))
		a.slot(conn.RemoteAddr().String()) <- original{dst, err}
		conn.Close()
	}
}

// slot returns the place where the two ends of a connection meet; either may
// come first.
func (a *arrivals) slot(client string) chan original {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.original[client] == nil {
		a.original[client] = make(chan original, 1)
	}
	return a.original[client]
}

// dialAny opens attempts connections to dst at once and returns nil where one
// was captured.
func (a *arrivals) dialAny(ctx context.Context, dst netip.AddrPort, attempts int) error {
	if attempts == 1 {
		return a.dial(ctx, dst)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, attempts)
	for range attempts {
		go func() { results <- a.dial(ctx, dst) }()
	}
	var last error
	for range attempts {
		if last = <-results; last == nil {
			return nil
		}
	}
	return last
}

// dial returns nil where a connection to dst was captured.
func (a *arrivals) dial(ctx context.Context, dst netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", dst.String())
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("not captured: nothing answered within %s", checkTimeout)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	if a.listener == nil {
		return nil // nobody has this address, so it was netra who answered
	}
	select {
	case o := <-a.slot(conn.LocalAddr().String()):
		if o.err != nil {
			return fmt.Errorf("%w: %w", errOriginal, o.err)
		}
		if o.dst != dst {
			return fmt.Errorf("%w: it says %s", errOriginal, o.dst)
		}
		return nil
	case <-ctx.Done():
		return errors.New("not captured: somebody else answered")
	}
}

// soOriginalDst is SO_ORIGINAL_DST and, at level IPv6, IP6T_SO_ORIGINAL_DST.
const soOriginalDst = 80

// originalDestination returns where conn was going before it was redirected.
func originalDestination(conn *net.TCPConn) (netip.AddrPort, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
	var dst netip.AddrPort
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		if local.Is4() || local.Is4In6() {
			// The answer is a sockaddr_in: family, port, address. This call
			// is the one at hand whose buffer is large enough.
			m, err := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, soOriginalDst)
			if sockErr = err; err == nil {
				dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Multiaddr[4:8])), binary.BigEndian.Uint16(m.Multiaddr[2:4]))
			}
			return
		}
		m, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, soOriginalDst)
		if sockErr = err; err == nil {
			port := (*[2]byte)(unsafe.Pointer(&m.Addr.Port)) // in network order
			dst = netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), binary.BigEndian.Uint16(port[:]))
		}
	})
	return dst, errors.Join(err, sockErr)
}
